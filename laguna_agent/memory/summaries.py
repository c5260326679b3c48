"""Writes memories: a segment for each task or epoch, condensed into one memory a session.

What the model's own summary leaves out comes from the events. Once a week, older memories are
condensed further; see `laguna_agent.memory.weekly_digest`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from laguna_agent.clip import clip
from laguna_agent.memory.commits import commits_between
from laguna_agent.memory.extract import Extract, extract, program_of
from laguna_agent.memory.grounding import command_of, drop_claim, ground, merged_files, own_words
from laguna_agent.memory.memory_store import (
    Memory,
    MemoryStore,
    RecordedCommand,
    read_memory,
    segment_number,
)
from laguna_agent.memory.summary_format import Claim, Range, Summary, parse_summary
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
MOST_WORDS = 119
"""Words of a memory's body: what was wanted, what was done, what holds."""
_PROSE_WORDS = 45
_CLAIM_CHARS = (180, 120, 60)
"""Of each claim; the next one where a memory would be too long."""
_DROPPED = (
    ("Commands", 2), ("Files", 2), ("Failed", 2), ("Goal", 2), ("Decisions", 4), ("Open", 2),
    ("Constraints", 3), ("Commands", 1), ("Goal", 1), ("Failed", 1), ("Decisions", 2),
    ("Constraints", 2), ("Open", 1), ("Files", 1), ("Commands", 0), ("Failed", 0),
    ("Decisions", 1), ("Constraints", 1), ("Files", 0),
)  # fmt: skip
"""In which order claims are dropped from a memory: files and commands are in its front matter."""


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
    ended = found.outcome and segments and segments[-1].outcome in ("open", "undone")
    if not (found.tasks or found.files or found.commands or found.undone or ended or text):
        return None
    segment = _segment(store.root, trajectory, found, text, number)
    known = {commit for memory in segments for commit in memory.commits}
    segment.commits = [commit for commit in segment.commits if commit not in known]
    path = store.write(segment)
    meta.remembered = found.last_seq
    if segment.outcome != "open" and segments and segments[-1].outcome == "open":
        segments = [_ended(store, memory, segment.outcome) for memory in segments]
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
    commands = list({c.run: c for memory in segments for c in memory.commands}.values())
    failed = [claim for claim in summary.claims("Failed") if not _works_now(claim, commands)]
    summary.sections["Failed"] = failed
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
        commands=commands[-_MOST_COMMANDS:],
        events=_joined(item for memory in segments for item in memory.events),
        sources=[name for memory in segments for name in memory.sources or [memory.id]],
        body=_body(first.title, summary, "\n".join(memory.prose for memory in segments)),
    )


def forget_from(store: MemoryStore, trajectory: Trajectory, seq: int) -> None:
    """Remove what is remembered of the events after `seq`, which were rewound, except what a
    person edited. What failed in them is remembered again."""
    remembered = min(trajectory.meta.remembered, seq)
    kept: list[Memory] = []
    for memory in store.segments_of(trajectory.id):
        if memory.path is None or memory.edited or all(last <= seq for _, last in memory.events):
            kept.append(memory)
        else:
            memory.path.unlink(missing_ok=True)
            remembered = min(remembered, *(first - 1 for first, _ in memory.events))
    trajectory.meta.remembered = remembered
    whole = read_memory(store.path_of(trajectory.id, "session"))
    if whole is not None and whole.path is not None and not whole.edited:
        whole.path.unlink(missing_ok=True)
        _write_session(store, trajectory.id, kept)


def _works_now(claim: Claim, commands: list[RecordedCommand]) -> bool:
    """Whether a claim that a command failed is out of date."""
    command = command_of(claim.text)
    return command is not None and any(
        other.exit == 0 and (other.run == command or program_of(other.run) == program_of(command))
        for other in commands
    )


def _ended(store: MemoryStore, memory: Memory, outcome: str) -> Memory:
    """A segment that ended in the middle of a turn, now that the turn has ended."""
    if memory.outcome == "open" and not memory.edited and memory.level == "segment":
        memory.outcome = outcome
        memory.body = memory.body.partition("\n\n## Open\n")[0]
        store.write(memory)
    return memory


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
        if (
            condensed.outcome != "open"
            and condensed.sources == [p.stem for p in paths]
            and all(path.stat().st_mtime_ns <= written for path in paths)
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
        outcome="undone" if found.undone and not found.tasks else found.outcome or "open",
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
    """The Markdown of a memory: what was wanted, what was done, what holds."""
    prose = _newest(result, _PROSE_WORDS)
    body = ""
    for characters in _CLAIM_CHARS:
        short = Summary(
            {
                name: [
                    replace(claim, text=clip(claim.text, characters))
                    for claim in claims
                    if claim.text not in prose
                ]
                for name, claims in summary.sections.items()
            }
        )
        while True:
            claims = "" if short.empty else short.render(heading=_HEADING)
            body = "\n\n".join(part for part in (f"# {title}", prose, claims) if part)
            if len(body.split()) <= MOST_WORDS:
                return body
            if not drop_claim(short, _DROPPED) and not short.sections.pop("Files", None):
                break
    return body


def _newest(text: str, words: int) -> str:
    """The last lines of a text that have so many words together; a longer one is cut."""
    kept: list[str] = []
    for line in reversed([line for line in text.split("\n") if line.strip()]):
        own = line.split()
        if kept and len(own) > words:
            break
        kept.append(" ".join(own) if len(own) <= words else f"{' '.join(own[:words])} …")
        words -= min(words, len(own))
    return "\n".join(reversed(kept))


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
