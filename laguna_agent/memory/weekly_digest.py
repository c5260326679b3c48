"""Condenses old memories into one file a week, so that a year of work stays small.

A week that is over becomes one file with a few lines a session. Four weeks later the sessions' own
memory files are removed, except edited ones; their records stay, and recall searches those.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from laguna_agent.clip import clip
from laguna_agent.memory.memory_store import Memory, MemoryStore, read_memory
from laguna_agent.memory.summary_format import Claim

KEEP_DETAIL = timedelta(weeks=4)
"""How long the memory files of a session stay after the end of its week."""

WEEK_CHARS = 40_000
"""Limit of a week's file; the more sessions it has, the fewer lines each gets."""

_ENTRY = re.compile(r"^## (\S+) ", re.MULTILINE)
_LINES = (("Goal", 1), ("Decisions", 3), ("Failed", 2), ("Commands", 2), ("Open", 2),
          ("Constraints", 2))  # fmt: skip


def condense(store: MemoryStore, now: datetime | None = None) -> list[Path]:
    """Write the files of past weeks and remove what they replace; returns the written files."""
    now = now or datetime.now(UTC)
    weeks: dict[str, list[Memory]] = defaultdict(list)
    for memory in _sessions(store):
        when = _time(memory.ended)
        if when is not None and week_of(when) < week_of(now):
            weeks[week_of(when)].append(memory)
    written = []
    for week, memories in sorted(weeks.items()):
        path = _write_week(store, week, memories)
        if path is not None:
            written.append(path)
        for memory in memories:
            when = _time(memory.ended)
            if when is not None and now - when > KEEP_DETAIL + timedelta(weeks=1):
                _remove_detail(store, memory)
    return written


def week_of(when: datetime) -> str:
    """The ISO week of a time: `2026-W48`."""
    year, week, _ = when.isocalendar()
    return f"{year}-W{week:02d}"


def _sessions(store: MemoryStore) -> Iterator[Memory]:
    """One memory a session: its condensed memory, or else its only segment."""
    sessions = {memory.session: memory for memory in store.memories("session")}
    yield from sessions.values()
    for memory in store.memories("segment"):
        if memory.session not in sessions:
            yield memory


def _write_week(store: MemoryStore, week: str, memories: list[Memory]) -> Path | None:
    known = read_memory(store.path_of(week, "week"))
    sources = set(known.sources) if known else set()
    fresh = [memory for memory in memories if memory.session not in sources]
    if not fresh:
        return None
    entries = _entries(known.body) if known else {}
    size = max(160, WEEK_CHARS // (len(entries) + len(fresh)) - 8)
    for memory in sorted(fresh, key=lambda memory: memory.ended):
        entries[memory.session] = _entry(memory, size)
    body = "\n\n".join([f"# {week}", *entries.values()])
    if known is not None and known.edited:
        # Somebody edited the file: only append new sessions.
        added = "\n\n".join(entries[memory.session] for memory in fresh)
        body = f"{known.body}\n\n{added}"
    elif len(body) > WEEK_CHARS:
        body = "\n\n".join([f"# {week}", *(_cut(entry, size) for entry in entries.values())])
    every = [*memories, *([known] if known else [])]
    result = Memory(
        id=week,
        level="week",
        title=f"Week {week}",
        repository=memories[0].repository,
        started=min(memory.started for memory in every),
        ended=max(memory.ended for memory in every),
        files=list(dict.fromkeys(path for memory in every for path in memory.files))[:80],
        symbols=list(dict.fromkeys(name for memory in every for name in memory.symbols))[:80],
        sources=[*(known.sources if known else []), *(memory.session for memory in fresh)],
        body=body,
    )
    path = store.write(result)
    if known is not None and known.edited:
        _mark_edited(path)
    return path


def _mark_edited(path: Path) -> None:
    """Remove the digest from an edited file that was appended to, so that it counts as edited."""
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'(?m)^digest = ".*"\n', "", text, count=1), encoding="utf-8")


def _entry(memory: Memory, size: int) -> str:
    day = memory.ended[:10]
    lines = [f"## {memory.session} {day}, {memory.outcome or 'open'}: {clip(memory.title, 100)}"]
    if memory.files:
        lines.append("Files: " + clip(", ".join(memory.files), 200))
    if memory.prose:
        lines.append(clip(memory.prose, 240))
    summary = memory.summary
    for name, most in _LINES:
        for claim in summary.claims(name)[:most]:
            text = clip(claim.text, 160)
            if name == "Goal" and text.startswith(memory.title[:60]):
                continue
            lines.append(f"- {name}: {Claim(text, claim.events[:2], memory.session).render()}")
    return _cut("\n".join(lines), size)


def _cut(entry: str, size: int) -> str:
    lines = entry.split("\n")
    while len(lines) > 1 and len("\n".join(lines)) > size:
        lines.pop()
    return "\n".join(lines)


def _entries(body: str) -> dict[str, str]:
    starts = [(match.start(), match.group(1)) for match in _ENTRY.finditer(body)]
    ends = [*(start for start, _ in starts[1:]), len(body)]
    return {
        session: body[start:end].strip("\n")
        for (start, session), end in zip(starts, ends, strict=True)
    }


def _remove_detail(store: MemoryStore, memory: Memory) -> None:
    files = [memory, *store.memories("segment")] if memory.level == "session" else [memory]
    for item in files:
        if item.session == memory.session and not item.edited and item.path is not None:
            item.path.unlink(missing_ok=True)


def _time(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
