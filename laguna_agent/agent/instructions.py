"""A repository's instructions for agents: AGENTS.md, nested, or CLAUDE.md where there is none.

The files from the repository's root down to the working directory are in the first user message,
the nearest last, since the nearest wins. A deeper one is added when the agent first works there.
All are limited in size, with a notice when one is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from laguna_agent.events import Notice

NAMES = ("AGENTS.md", "CLAUDE.md")
"""In order: the second is read only in a directory without the first."""
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class InstructionFile:
    """One file as far as it fits. `scope` is its directory relative to the root (`.`)."""

    path: Path
    scope: str
    text: str
    size: int
    """Characters of the whole file."""

    @property
    def cut(self) -> bool:
        """Whether `text` is less than the whole file."""
        return len(self.text) < self.size


@dataclass
class Instructions:
    """Instruction files of one repository, and which of them the model was shown.

    `user` is the directory of the user's own AGENTS.md, which comes first and yields to all.
    `limit` is in characters, for the first message and again for each file shown later.
    """

    root: Path
    cwd: Path
    limit: int = 8_000
    user: Path | None = None
    trusted: bool = True
    """False: the repository's own files are not read."""
    accepts: Callable[[Path], bool] = lambda path: True
    """Whether a file of the repository is as it was trusted; others are not read."""
    shown: set[Path] = field(default_factory=set)
    notices: list[Notice] = field(default_factory=list)
    files: list[InstructionFile] = field(default_factory=list)
    """The files shown so far, in order."""
    _recorded: int = 0
    """How many of them a message that is on record shows."""

    def for_first_message(self) -> str:
        """The text for the first user message; empty when there are no files."""
        found = self._chain()
        files = fit(found, self.limit)
        self._note(files)
        self._recorded = len(self.files)
        return render(files, self.root)

    def adopt(self, paths: Iterable[str]) -> None:
        """Set what was shown to the files of the first message and those at `paths`, which the
        record of a session names."""
        self.files.clear()
        self.shown.clear()
        self.for_first_message()
        for path in map(Path, paths):
            if path not in self.shown and path in self._chain_of(path):
                scope = str(path.parent.relative_to(self.root.resolve()))
                self._note(fit([(path, scope)], self.limit))
        self._recorded = len(self.files)
        self.notices.clear()

    def take_shown(self) -> list[str]:
        """Paths of the files that `near` showed since the last call, for the record."""
        files, self._recorded = self.files[self._recorded :], len(self.files)
        return [str(file.path) for file in files]

    def near(self, path: Path) -> str:
        """The text of files that apply to `path` and were not shown yet; empty without any."""
        if not self.trusted:
            return ""
        directory = path if path.is_dir() else path.parent
        found = [f for f in self._between(directory) if f[0] not in self.shown]
        files = fit(found, self.limit)
        self._note(files)
        return render(files, self.root)

    def all_shown(self) -> str:
        """Everything shown so far, as one text: what a new epoch starts with."""
        return render(self.files, self.root)

    def take_notices(self) -> list[Notice]:
        """Notices of files that were cut, each once."""
        notices, self.notices = self.notices, []
        return notices

    def _chain(self) -> list[tuple[Path, str]]:
        found: list[tuple[Path, str]] = []
        if self.user is not None:
            path = self.user / NAMES[0]
            if path.is_file():
                found.append((path, "everywhere"))
        return [*found, *self._between(self.cwd)] if self.trusted else found

    def _chain_of(self, path: Path) -> list[Path]:
        return [file for file, _ in self._between(path.parent)] if self.trusted else []

    def _between(self, directory: Path) -> list[tuple[Path, str]]:
        root, directory = self.root.resolve(), directory.resolve()
        if not directory.is_relative_to(root):
            return []
        folders = [root]
        for part in directory.relative_to(root).parts:
            folders.append(folders[-1] / part)
        found = []
        for folder in folders:
            path = instruction_file(folder, root)
            if path is not None and self.accepts(path):
                found.append((path, str(folder.relative_to(root))))
        return found

    def _note(self, files: Iterable[InstructionFile]) -> None:
        for file in files:
            if file.path not in self.shown:
                self.files.append(file)
            self.shown.add(file.path)
            if file.cut:
                self.notices.append(
                    Notice(
                        level="warning",
                        text=f"{file.path} has {file.size:,} characters; the model reads the first "
                        f"{len(file.text):,}. Shorten it, or raise `instructions_chars` "
                        "in the pack's [limits].",
                    )
                )


def instruction_file(folder: Path, root: Path) -> Path | None:
    """The instruction file of one directory; a link that leads out of `root` does not count."""
    for name in NAMES:
        path = folder / name
        if path.is_file() and path.resolve().is_relative_to(root):
            return path
    return None


def fit(found: list[tuple[Path, str]], limit: int) -> list[InstructionFile]:
    """Read the files, the nearest first, up to `limit` characters in all.

    What is not UTF-8 is replaced.
    """
    left, files = limit, []
    for path, scope in reversed(found):
        try:
            with path.open("rb") as stream:
                raw = stream.read(_MAX_BYTES + 1)
            whole = path.stat().st_size
        except OSError:
            continue
        text = raw[:_MAX_BYTES].decode("utf-8-sig", errors="replace").strip()
        size = len(text) if whole <= _MAX_BYTES else whole
        if not text:
            continue
        kept = _head(text, left)
        left -= len(kept)
        files.append(InstructionFile(path, scope, kept, size))
    return files[::-1]


def _head(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    cut = text[: max(limit, 0)]
    # Half a line could read like another instruction.
    return cut[: cut.rfind("\n") + 1].rstrip() if "\n" in cut else ""


def render(files: list[InstructionFile], root: Path) -> str:
    """The files as one text, nearest last, with where each applies and where it is cut."""
    parts = []
    for file in files:
        name = file.path.name
        where = file.scope
        head = f"[{name}]" if where == "." else f"[{name} for {where}]"
        shown = file.path.relative_to(root) if file.path.is_relative_to(root) else file.path
        tail = f"\n[… cut; the rest is in {shown}]" if file.cut else ""
        parts.append(f"{head}\n{file.text}{tail}")
    if len(parts) > 1:
        parts.insert(0, "Where these disagree, the last one wins.")
    return "\n".join(parts)
