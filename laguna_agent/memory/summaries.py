"""Writes memories: a segment for each task or epoch, condensed into one memory a session.

What the model's own summary leaves out comes from the events. Once a week, older memories are
condensed further; see `laguna_agent.memory.weekly_digest`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from laguna_agent.clip import clip
from laguna_agent.memory.commits import commits_between
from laguna_agent.memory.extract import Extract, extract
from laguna_agent.memory.grounding import ground, merged_files, own_words
from laguna_agent.memory.memory_store import (
    Memory,
    MemoryStore,
    RecordedCommand,
    read_memory,
    segment_number,
)
from laguna_agent.memory.summary_format import Range, Summary, parse_summary
from laguna_agent.memory.weekly_digest import condense, week_of
from laguna_agent.trajectory.meta import git_head, title_of
from laguna_agent.trajectory.replay import kept_ranges
from laguna_agent.trajectory.store import Trajectory

_HEADING = "## {}"
_MOST_COMMANDS = 20
_MOST_FILES = 40
_MOST_SYMBOLS = 40
_MOST_CLAIMS = {
    "Goal": 4, "Constraints": 10, "Decisions": 12, "Files": 20, "Failed": 8, "Commands": 10,
}  # fmt: skip
"""Claims of each section in a session's memory; `Open` comes from the last segment alone."""


def remember(
    store: MemoryStore,
    trajectory: Trajectory,
    *,
    last_seq: int | None = None,
    text: str | None = None,
) -> Path | None:
    """Write a segment of what happened since the last one; returns the file.

    Call it at the end of each task and of each epoch, with the model's own summary as `text` when
    there is one. None when nothing happened. Raises LagunaError when it cannot be written.
    """
    meta = trajectory.meta
    segments, number = _earlier_segments(store, trajectory.id)
    # The record's own mark, so that a memory that a person deleted is not written again.
    first = 1 + max([meta.remembered, *(last for m in segments for _, last in m.events)])
    last = trajectory.last_seq if last_seq is None else last_seq
    found = extract(
        takewhile(lambda stored: stored.seq <= last, trajectory.events(first, whole=False)),
        keeps=kept_ranges(trajectory, start=first),
    )
    if not found.tasks and not found.files and not found.commands and not text:
        return None
    segment = _segment(store.root, trajectory, found, text, number)
    known = {commit for memory in segments for commit in memory.commits}
    segment.commits = [commit for commit in segment.commits if commit not in known]
    path = store.write(segment)
    meta.remembered = found.last_seq
    _write_session(store, trajectory.id, [*segments, segment])
    _condense_weekly(store)
    return path


def condensed_session(session: str, segments: list[Memory]) -> Memory:
    """One memory of a session from those of its segments, or from its last condensed memory and
    the segments since."""
    segments = sorted(segments, key=lambda memory: memory.events[0] if memory.events else (0, 0))
    summary = Summary()
    for name in _MOST_CLAIMS:
        for memory in segments:
            summary.add(name, *memory.summary.claims(name))
    summary.sections["Files"] = merged_files(summary.claims("Files"))
    summary.limit(_MOST_CLAIMS)
    summary.add("Open", *segments[-1].summary.claims("Open"))
    first, last = segments[0], segments[-1]
    return Memory(
        id=session,
        level="session",
        title=first.title,
        session=session,
        repository=first.repository,
        branch=last.branch,
        commits=_unique(commit for memory in segments for commit in memory.commits),
        started=first.started,
        ended=last.ended,
        model=last.model,
        outcome=last.outcome,
        files=_unique(path for memory in segments for path in memory.files)[:_MOST_FILES],
        symbols=_unique(name for memory in segments for name in memory.symbols)[:_MOST_SYMBOLS],
        commands=list({c.run: c for memory in segments for c in memory.commands}.values())[
            -_MOST_COMMANDS:
        ],
        events=_joined(item for memory in segments for item in memory.events),
        sources=[name for memory in segments for name in memory.sources or [memory.id]],
        body=_body(first.title, summary),
    )


def _earlier_segments(store: MemoryStore, session: str) -> tuple[list[Memory], int]:
    """The session's memories so far, and the number of its next segment.

    The session's condensed memory replaces its segments, so that the cost does not grow with
    them, unless a person has edited or deleted a segment since: then all of them are read.
    """
    paths = store.segment_paths(session)
    number = 1 + (segment_number(paths[-1]) if paths else 0)
    condensed = read_memory(store.path_of(session, "session"))
    if condensed is not None and condensed.path is not None and not condensed.edited:
        written = condensed.path.stat().st_mtime_ns
        if condensed.sources == [path.stem for path in paths] and all(
            path.stat().st_mtime_ns <= written for path in paths
        ):
            return [condensed], number
    return store.segments_of(session), number


def _segment(
    root: Path, trajectory: Trajectory, found: Extract, text: str | None, number: int
) -> Memory:
    meta = trajectory.meta
    summary = found.summary
    if text:
        summary = ground(own_words(parse_summary(text)), found)
    branch, head = git_head(root)
    title = (title_of(found.tasks[0][1]) if found.tasks else "") or meta.title
    return Memory(
        id=f"{trajectory.id}-{number}",
        level="segment",
        title=title,
        session=trajectory.id,
        repository=meta.repository or str(root),
        branch=branch or meta.branch,
        commits=commits_between(root, meta.commit, head),
        started=found.started,
        ended=found.ended,
        model=found.model or meta.model,
        outcome=found.outcome or "open",
        files=found.files_changed[:_MOST_FILES],
        symbols=[name for name, _ in found.symbols.most_common(_MOST_SYMBOLS)],
        commands=[
            RecordedCommand(run=run.command, exit=run.exit_code, events=run.events[-3:])
            for run in list(found.commands.values())[-_MOST_COMMANDS:]
        ],
        events=[(found.first_seq, found.last_seq)],
        body=_body(title, summary, found.result),
    )


def _write_session(store: MemoryStore, session: str, segments: list[Memory]) -> None:
    if len(segments) < 2:
        return
    known = read_memory(store.path_of(session, "session"))
    if known is None or not known.edited:
        store.write(condensed_session(session, segments))


def _condense_weekly(store: MemoryStore) -> None:
    """Condense older memories, once a week because it reads every file."""
    week, mark = week_of(datetime.now(UTC)), store.directory / "condensed"
    with contextlib.suppress(OSError):
        if mark.exists() and mark.read_text(encoding="utf-8") == week:
            return
        mark.write_text(week, encoding="utf-8")
        condense(store)


def _body(title: str, summary: Summary, result: str = "") -> str:
    """The Markdown of a memory."""
    parts = [f"# {title}"]
    if result.strip():
        parts.append(clip(result, 600))
    if not summary.empty:
        parts.append(summary.render(heading=_HEADING))
    return "\n\n".join(parts)


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges, adjacent and overlapping ones joined."""
    joined: list[Range] = []
    for first, last in ranges:
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
