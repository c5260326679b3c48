"""Summarised trajectory files: what a later task needs of an earlier one, as Markdown.

```
memory/segments/<session>-<n>.md   one task, or one epoch of a long one
memory/sessions/<session>.md       a session of several segments
memory/weeks/<year>-W<week>.md     the sessions of a week, a few lines each
```
People can read, edit and delete these files, and their edits stay: a file that somebody changed
is neither written again nor removed when it is condensed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.memory import frontmatter
from laguna_agent.memory.commits import commits_between
from laguna_agent.memory.extract import Extract, clip, extract
from laguna_agent.memory.grounding import ground, merged_files, own_words
from laguna_agent.memory.summary_format import Summary, parse_summary
from laguna_agent.paths import repository_state_dir
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.meta import git_head, title_of
from laguna_agent.trajectory.replay import kept_ranges
from laguna_agent.trajectory.store import Trajectory

Level = Literal["segment", "session", "week"]
LEVELS: tuple[Level, ...] = ("segment", "session", "week")
HEADING = "## {}"
_MOST_COMMANDS = 20
_MOST_FILES = 40
_MOST_SYMBOLS = 40


class Command(BaseModel):
    """A command, how it ended the last time, and the events in which it ran."""

    run: str
    exit: int
    events: list[int] = []


class Memory(BaseModel):
    """The front matter of one memory file, and its body. Times are ISO 8601 in UTC."""

    model_config = ConfigDict(extra="ignore")

    id: str = ""
    level: Level = "segment"
    title: str = ""
    session: str = ""
    repository: str = ""
    branch: str = ""
    commits: list[str] = []
    started: str = ""
    ended: str = ""
    model: str = ""
    outcome: str = ""
    files: list[str] = []
    symbols: list[str] = []
    commands: list[Command] = []
    events: list[tuple[int, int]] = []
    """Ranges of the session's events that this is about, both ends included."""
    sources: list[str] = []
    """Ids of the memories that this one was condensed from."""
    digest: str = ""
    """Of the body as laguna wrote it; another body was edited by a person."""
    body: str = ""
    path: Path | None = None

    @property
    def edited(self) -> bool:
        """True when a person wrote or changed the body."""
        return self.digest != _digest(self.body)

    @property
    def summary(self) -> Summary:
        """The claims of the body."""
        start = self.body.find("## ")  # before it stand the title and how it ended
        return parse_summary(self.body[start:] if start >= 0 else self.body)


class MemoryStore:
    """The memory files of the repository at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = repository_state_dir(root) / "memory"

    # --- reading ------------------------------------------------------------------------------

    def path_of(self, memory_id: str, level: Level) -> Path:
        """Where the file of an id is, or would be."""
        return self.directory / f"{level}s" / f"{memory_id}.md"

    def paths(self, level: Level | None = None) -> Iterator[Path]:
        """The files there are, oldest name first."""
        for name in LEVELS if level is None else (level,):
            directory = self.directory / f"{name}s"
            if directory.is_dir():
                yield from sorted(directory.glob("*.md"))

    def memories(self, level: Level | None = None) -> Iterator[Memory]:
        """All memories that can be read."""
        for path in self.paths(level):
            memory = read_memory(path)
            if memory is not None:
                yield memory

    def get(self, name: str) -> Memory:
        """The memory of an id or of a beginning of one; the most condensed one first.

        Raises UsageError when there is none or when several are meant.
        """
        found = {path.stem: path for path in self.paths() if name and path.stem.startswith(name)}
        path = found.get(name)
        if path is None and found:
            sessions = {_session_of(path) for path in found.values()}
            if len(sessions) > 1:
                shown = ", ".join(sorted(found)[:5])
                raise UsageError(f"`{name}` means {len(found)} memories: {shown}")
            path = found.get(sessions.pop()) or list(found.values())[-1]
        memory = read_memory(path) if path else None
        if memory is None:
            raise UsageError(
                f"there is no memory `{name}` in this repository",
                hint="`laguna memory list` shows them.",
            )
        return memory

    # --- writing ------------------------------------------------------------------------------

    def remember(
        self, trajectory: Trajectory, *, last_seq: int | None = None, text: str | None = None
    ) -> Path | None:
        """Write what happened since the last segment of a session; returns the file.

        Call it at the end of each task and of each epoch, with the model's own summary as `text`
        when there is one. What the model left out is taken from the events. None when nothing
        happened. Raises LagunaError when it cannot be written.
        """
        meta = trajectory.meta
        segments, number = self._before(trajectory.id)
        # What a person deleted is not written again, so the record says how far it was read.
        first = 1 + max([meta.remembered, *(last for m in segments for _, last in m.events)])
        last = trajectory.last_seq if last_seq is None else last_seq
        found = extract(
            _between(trajectory.events(first, whole=False), last),
            keeps=kept_ranges(trajectory, start=first),
        )
        if not found.tasks and not found.files and not found.commands and not text:
            return None
        known = {commit for memory in segments for commit in memory.commits}
        memory = self._segment(trajectory, found, text, number, known)
        path = self._write(memory)
        meta.remembered = found.last_seq
        self._session(trajectory.id, [*segments, memory])
        self._condense_weekly()
        return path

    def forget(self, memory: Memory) -> list[Path]:
        """Remove a memory, and with a session's all of its segments; returns the files."""
        gone = [memory.path] if memory.path else []
        if memory.level == "session":
            gone += [item.path for item in self._segments_of(memory.session) if item.path]
        for path in gone:
            path.unlink(missing_ok=True)
        return gone

    def write(self, memory: Memory) -> Path:
        """Write a memory made elsewhere (a week's). Raises LagunaError."""
        return self._write(memory)

    # --- inside -------------------------------------------------------------------------------

    def _condense_weekly(self) -> None:
        """Condense what is old, once a week: it reads every file."""
        from laguna_agent.memory.weekly_digest import condense, week_of

        week, mark = week_of(datetime.now(UTC)), self.directory / "condensed"
        with contextlib.suppress(OSError):
            if mark.exists() and mark.read_text(encoding="utf-8") == week:
                return
            mark.write_text(week, encoding="utf-8")
            condense(self)

    def _segments_of(self, session: str) -> list[Memory]:
        found = map(read_memory, self._segment_paths(session))
        return [memory for memory in found if memory is not None]

    def _segment_paths(self, session: str) -> list[Path]:
        paths = (self.directory / "segments").glob(f"{session}-*.md")
        return sorted(paths, key=lambda path: _number(path.stem))

    def _before(self, session: str) -> tuple[list[Memory], int]:
        """What is remembered of a session, and the number of its next segment.

        The condensed file stands for all segments, so that the cost does not grow with them,
        unless a person edited or deleted one since: then they are all read.
        """
        paths = self._segment_paths(session)
        number = 1 + (_number(paths[-1].stem) if paths else 0)
        whole = read_memory(self.path_of(session, "session"))
        if whole is not None and whole.path is not None and not whole.edited:
            written = whole.path.stat().st_mtime_ns
            if whole.sources == [path.stem for path in paths] and all(
                path.stat().st_mtime_ns <= written for path in paths
            ):
                return [whole], number
        return self._segments_of(session), number

    def _segment(
        self,
        trajectory: Trajectory,
        found: Extract,
        text: str | None,
        number: int,
        known_commits: set[str],
    ) -> Memory:
        meta = trajectory.meta
        summary = found.summary
        if text:
            summary = ground(own_words(parse_summary(text)), found)
        branch, head = git_head(self.root)
        commits = [
            c for c in commits_between(self.root, meta.commit, head) if c not in known_commits
        ]
        title = title_of(found.tasks[0][1]) if found.tasks else meta.title
        commands = list(found.commands.values())[-_MOST_COMMANDS:]
        return Memory(
            id=f"{trajectory.id}-{number}",
            level="segment",
            title=title or meta.title,
            session=trajectory.id,
            repository=meta.repository or str(self.root),
            branch=branch or meta.branch,
            commits=commits,
            started=found.started,
            ended=found.ended,
            model=found.model or meta.model,
            outcome=found.outcome or "open",
            files=found.files_changed[:_MOST_FILES],
            symbols=[name for name, _ in found.symbols.most_common(_MOST_SYMBOLS)],
            commands=[
                Command(run=run.command, exit=run.exit_code, events=run.events[-3:])
                for run in commands
            ],
            events=[(found.first_seq, found.last_seq)],
            body=body_of(title or meta.title, summary, found.result),
        )

    def _session(self, session: str, segments: list[Memory]) -> None:
        if len(segments) < 2:
            return
        known = read_memory(self.path_of(session, "session"))
        if known is not None and known.edited:
            return
        self._write(condensed_session(session, segments))

    def _write(self, memory: Memory) -> Path:
        path = self.path_of(memory.id, memory.level)
        memory.digest, memory.path = _digest(memory.body), path
        data: dict[str, Any] = memory.model_dump(mode="json", exclude={"body", "path"})
        data["events"] = [list(item) for item in memory.events]
        text = frontmatter.dump({key: data[key] for key in data if data[key]}, memory.body)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8", errors="replace")
            temporary.chmod(0o600)
            os.replace(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise LagunaError(f"a memory cannot be written to {path}: {error.strerror}") from error
        return path


def body_of(title: str, summary: Summary, result: str = "") -> str:
    """The Markdown of a memory."""
    parts = [f"# {title}"]
    if result.strip():
        parts.append(clip(result, 600))
    if not summary.empty:
        parts.append(summary.render(heading=HEADING))
    return "\n\n".join(parts)


def condensed_session(session: str, segments: list[Memory]) -> Memory:
    """One memory of a session out of those of its segments, or of what was condensed of them
    before and the segments since."""
    segments = sorted(segments, key=lambda memory: memory.events[0] if memory.events else (0, 0))
    summary = Summary()
    for name, most in (
        ("Goal", 4), ("Constraints", 10), ("Decisions", 12), ("Files", 20), ("Failed", 8),
        ("Commands", 10),
    ):  # fmt: skip
        for memory in segments:
            summary.add(name, *memory.summary.claims(name))
        if name == "Files":
            summary.sections[name] = merged_files(summary.claims(name))
        claims = summary.claims(name)
        if len(claims) > most:
            summary.sections[name] = claims[: most // 3] + claims[-(most - most // 3) :]
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
        body=body_of(first.title, summary),
    )


def read_memory(path: Path) -> Memory | None:
    """A memory from its file; None when it cannot be read. What a person wrote counts, also
    where the front matter is gone or broken."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    data, body = frontmatter.load(text)
    level = path.parent.name.removesuffix("s")
    fallback = {"id": path.stem, "level": level if level in LEVELS else "segment"}
    try:
        memory = Memory.model_validate({**fallback, **data, "body": body})
    except ValidationError:
        memory = Memory.model_validate({**fallback, "body": body})
    memory.id, memory.path = path.stem, path
    if not memory.session and memory.level != "week":
        memory.session = _session_of(path)
    if not memory.title:
        memory.title = title_of(body.lstrip("# "))
    return memory


def _digest(body: str) -> str:
    return hashlib.sha256(body.strip("\n").encode("utf-8", "replace")).hexdigest()[:16]


def _number(name: str) -> int:
    """The number of a segment, the last part of its name."""
    tail = name.rsplit("-", 1)[-1]
    return int(tail) if tail.isdigit() else 0


def _session_of(path: Path) -> str:
    return path.stem.rsplit("-", 1)[0] if path.parent.name == "segments" else path.stem


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges with those that follow on each other made one."""
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _between(events: Iterable[StoredEvent], last: int) -> Iterator[StoredEvent]:
    for stored in events:
        if stored.seq > last:
            return
        yield stored


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
