"""What a repository tells its agents: AGENTS.md, nested, with CLAUDE.md where there is none.

The files from the repository's root down to the working directory stand in the first user
message, the nearest last, since the nearest wins. One that lies deeper is told when the agent
first works there. All are bounded in size, and what was cut is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from laguna_agent.events import Notice

NAMES = ("AGENTS.md", "CLAUDE.md")
"""In order: the second is read only in a directory that lacks the first."""
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class InstructionFile:
    """One file as far as it fits. `scope` is its directory relative to the root, `.` for it."""

    path: Path
    scope: str
    text: str
    size: int
    """Characters of the whole file."""

    @property
    def cut(self) -> bool:
        """True when not all of it is in `text`."""
        return len(self.text) < self.size


@dataclass
class Instructions:
    """Instruction files of one repository, and which of them the model was told.

    `user` is the directory of the user's own AGENTS.md, which comes first and yields to all.
    `limit` is in characters, for the first message and again for each file told later.
    """

    root: Path
    cwd: Path
    limit: int = 8_000
    user: Path | None = None
    trusted: bool = True
    """False: the repository's own files are not read."""
    accepts: Callable[[Path], bool] = lambda path: True
    """Whether a file of the repository is what was trusted; others are not read."""
    told: set[Path] = field(default_factory=set)
    notices: list[Notice] = field(default_factory=list)
    files: list[InstructionFile] = field(default_factory=list)
    """What was told so far, in order."""

    def opening(self) -> str:
        """The text for the first user message; empty when there are no files."""
        found = self._chain()
        files = fit(found, self.limit)
        self._note(files)
        return render(files, self.root)

    def near(self, path: Path) -> str:
        """The text of files that govern `path` and were not told yet; empty when there are none."""
        if not self.trusted:
            return ""
        directory = path if path.is_dir() else path.parent
        found = [f for f in self._between(directory) if f[0] not in self.told]
        files = fit(found, self.limit)
        self._note(files)
        return render(files, self.root)

    def standing(self) -> str:
        """All that was told, as one text: what a new epoch begins with."""
        return render(self.files, self.root)

    def _chain(self) -> list[tuple[Path, str]]:
        found: list[tuple[Path, str]] = []
        if self.user is not None:
            path = self.user / NAMES[0]
            if path.is_file():
                found.append((path, "everywhere"))
        return [*found, *self._between(self.cwd)] if self.trusted else found

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
            if file.path not in self.told:
                self.files.append(file)
            self.told.add(file.path)
            if file.cut:
                self.notices.append(
                    Notice(
                        level="warning",
                        text=f"{file.path} has {file.size:,} characters; the model is told "
                        f"{len(file.text):,} of them. Shorten it, or raise `instructions_chars` "
                        "in the pack's [limits].",
                    )
                )


def instruction_file(folder: Path, root: Path) -> Path | None:
    """The instruction file of one directory; a link that leads out of `root` is none."""
    for name in NAMES:
        path = folder / name
        if path.is_file() and path.resolve().is_relative_to(root):
            return path
    return None


def fit(found: list[tuple[Path, str]], limit: int) -> list[InstructionFile]:
    """Read the files so that together they keep to `limit` characters, the nearest served first.

    A file that is not UTF-8 text is read with what cannot be decoded replaced.
    """
    left, files = limit, []
    for path, scope in reversed(found):
        try:
            with path.open("rb") as stream:
                raw = stream.read(_MOST_BYTES + 1)
            whole = path.stat().st_size
        except OSError:
            continue
        text = raw[:_MOST_BYTES].decode("utf-8-sig", errors="replace").strip()
        size = len(text) if whole <= _MOST_BYTES else whole
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
    # A line that ends in the middle reads like an instruction that it is not.
    return cut[: cut.rfind("\n") + 1].rstrip() if "\n" in cut else ""


def render(files: list[InstructionFile], root: Path) -> str:
    """The files as one text, nearest last; says where each applies and what was left out."""
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
