"""Memory files: what a later task needs of an earlier one, as Markdown with TOML front matter.

```
memory/segments/<session>-<n>.md   one task, or one epoch of a long one
memory/sessions/<session>.md       a session of several segments
memory/weeks/<year>-W<week>.md     the sessions of a week, a few lines each
```
People may read, edit and delete these files, and their edits stay: laguna neither overwrites an
edited file nor removes it when it condenses what the file covers.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from laguna_agent.atomic_write import atomic_write
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.front_matter import join_front_matter, split_front_matter
from laguna_agent.memory.summary_format import Range, Summary, parse_summary
from laguna_agent.paths import repository_state_dir
from laguna_agent.trajectory.meta import title_of

_SECTION = re.compile(r"^## ", re.MULTILINE)
Level = Literal["segment", "session", "week"]
LEVELS: tuple[Level, ...] = ("segment", "session", "week")


class RecordedCommand(BaseModel):
    """A command, the exit code of its last run, and the events in which it ran."""

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
    commands: list[RecordedCommand] = []
    events: list[Range] = []
    """Ranges of the session's events that the memory covers, both ends included."""
    sources: list[str] = []
    """Ids of the memories that this one condenses."""
    digest: str = ""
    """Digest of the body as laguna wrote it; it differs once somebody has edited the body."""
    body: str = ""
    path: Path | None = None

    @property
    def edited(self) -> bool:
        """True when a person wrote or changed the body."""
        return self.digest != _digest(self.body)

    @property
    def summary(self) -> Summary:
        """The claims of the body."""
        start = self._claims_start  # the title and the prose come first
        return parse_summary(self.body[start:] if start >= 0 else self.body)

    @property
    def prose(self) -> str:
        """What the body says before its claims, without the title: what was done."""
        start = self._claims_start
        lines = (self.body[:start] if start >= 0 else self.body).split("\n")
        return "\n".join(line for line in lines if line and not line.startswith("# "))

    @property
    def _claims_start(self) -> int:
        match = _SECTION.search(self.body)
        return match.start() if match else -1


class MemoryStore:
    """The memory files of the repository at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = repository_state_dir(root) / "memory"

    def path_of(self, memory_id: str, level: Level) -> Path:
        """The path of a memory's file, whether it exists or not."""
        return self.directory / f"{level}s" / f"{memory_id}.md"

    def paths(self, level: Level | None = None) -> Iterator[Path]:
        """The memory files, by level and name."""
        for name in LEVELS if level is None else (level,):
            directory = self.directory / f"{name}s"
            if directory.is_dir():
                yield from sorted(directory.glob("*.md"))

    def memories(self, level: Level | None = None) -> Iterator[Memory]:
        """All readable memories."""
        for path in self.paths(level):
            memory = read_memory(path)
            if memory is not None:
                yield memory

    def segment_paths(self, session: str) -> list[Path]:
        """The files of a session's segments, in order."""
        paths = (self.directory / "segments").glob(f"{session}-*.md")
        return sorted(paths, key=segment_number)

    def segments_of(self, session: str) -> list[Memory]:
        """The readable segments of a session, in order."""
        found = map(read_memory, self.segment_paths(session))
        return [memory for memory in found if memory is not None]

    def get(self, name: str) -> Memory:
        """The memory with this id or prefix of an id; of a session's, the most condensed one.

        Raises UsageError when there is none or the prefix is ambiguous.
        """
        found = {path.stem: path for path in self.paths() if name and path.stem.startswith(name)}
        path = found.get(name)
        if path is None and found:
            sessions = {_session_of(path) for path in found.values()}
            if len(sessions) > 1:
                shown = ", ".join(sorted(found)[:5])
                raise UsageError(
                    f"`{name}` matches {len(found)} memories: {shown}",
                    hint="Give more of the id.",
                )
            path = found.get(sessions.pop()) or list(found.values())[-1]
        memory = read_memory(path) if path else None
        if memory is None:
            raise UsageError(
                f"there is no memory `{name}` in this repository",
                hint="`laguna memory list` lists them.",
            )
        return memory

    def write(self, memory: Memory) -> Path:
        """Write a memory's file; returns its path. Raises LagunaError."""
        path = self.path_of(memory.id, memory.level)
        memory.digest, memory.path = _digest(memory.body), path
        data: dict[str, Any] = memory.model_dump(mode="json", exclude={"body", "path"})
        text = join_front_matter({key: data[key] for key in data if data[key]}, memory.body)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic_write(path, text.encode("utf-8", "replace"))
        except OSError as error:
            raise LagunaError(f"cannot write the memory {path}: {error.strerror}") from error
        return path

    def forget(self, memory: Memory) -> list[Path]:
        """Remove a memory, and with a session's all of its segments; returns the files."""
        removed = [memory.path] if memory.path else []
        if memory.level == "session":
            removed += [item.path for item in self.segments_of(memory.session) if item.path]
        for path in removed:
            path.unlink(missing_ok=True)
        return removed


def read_memory(path: Path) -> Memory | None:
    """Read a memory file; None when it cannot be read, or is a pipe, whose reader would wait.

    The body counts even where a person removed or broke the front matter.
    """
    try:
        if not path.is_file():
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    data, body = _parse(text)
    level = path.parent.name.removesuffix("s")
    fallback = {"id": path.stem, "level": level if level in LEVELS else "segment"}
    try:
        memory = Memory.model_validate({**fallback, **data, "body": body})
    except ValidationError:
        memory = Memory.model_validate({**fallback, "body": body})
    memory.id, memory.path = path.stem, path
    if not memory.session and memory.level != "week":
        memory.session = _session_of(path)
    heading = body.startswith("# ")
    if heading or not memory.title:  # the heading is what people see and edit
        memory.title = title_of(body.removeprefix("# "))
    return memory


def segment_number(path: Path) -> int:
    """The number of a segment, the last part of its file's name."""
    tail = path.stem.rsplit("-", 1)[-1]
    return int(tail) if tail.isdigit() else 0


def _parse(text: str) -> tuple[dict[str, Any], str]:
    """Front matter and body. Without a closing fence, the whole file is body."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    front, body, offset = split_front_matter(text)
    if offset < 0:
        return {}, text.strip("\n")
    try:
        return tomllib.loads(front), body.strip("\n")
    except tomllib.TOMLDecodeError:
        return {}, body.strip("\n")


def _digest(body: str) -> str:
    return hashlib.sha256(body.strip("\n").encode("utf-8", "replace")).hexdigest()[:16]


def _session_of(path: Path) -> str:
    return path.stem.rsplit("-", 1)[0] if path.parent.name == "segments" else path.stem
