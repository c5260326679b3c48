"""A private git repository that stores states of a working tree byte for byte.

It has its own objects and index; the user's are not touched. The configuration of the repository
in the working tree does not apply: no filters, no conversion of line endings, no hooks.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from laguna_agent.tools.repository.git_command import (
    SAFE_OPTIONS,
    GitError,
    git_environment,
    run_git,
)

_CONFIG = """\
[core]
\tbare = false
\tautocrlf = false
\tsafecrlf = false
\tfileMode = true
\tsymlinks = true
\tignoreCase = false
\tprecomposeUnicode = false
\tprotectHFS = false
\tprotectNTFS = false
\tlooseCompression = 1
\tfsync = none
[index]
\tversion = 4
[gc]
\tauto = 0
"""
# Python writes its compiled modules on any import: they are no change of a turn.
_EXCLUDES = "__pycache__/\n"
# Overrides .gitattributes of the working tree, which convert line endings and run filters.
_ATTRIBUTES = "* -text !eol !crlf !filter !ident !working-tree-encoding !diff !merge\n"
_IDENTITY = {
    "GIT_AUTHOR_NAME": "laguna",
    "GIT_AUTHOR_EMAIL": "laguna@localhost",
    "GIT_COMMITTER_NAME": "laguna",
    "GIT_COMMITTER_EMAIL": "laguna@localhost",
}


@dataclass(frozen=True)
class TreeEntry:
    """A recorded file or link."""

    mode: int
    """Type and permission bits, as in `lstat`."""
    blob: str

    def same_content(self, other: TreeEntry | None) -> bool:
        """Whether both are files, or both links, of the same content."""
        return (
            other is not None
            and self.blob == other.blob
            and stat.S_IFMT(self.mode) == stat.S_IFMT(other.mode)
        )


class TreeStore:
    """Writes the working tree into git trees. Methods raise GitError; one caller at a time."""

    def __init__(self, workspace: Path, git_dir: Path, *, own: Path, max_file_bytes: int) -> None:
        """`own` is laguna's state, which is excluded if it is in the workspace."""
        self.workspace = workspace
        self.git_dir = git_dir
        self._own = own
        self._max_file_bytes = max_file_bytes
        self._environment = git_environment(
            {
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_DIR": str(git_dir),
                "GIT_WORK_TREE": str(workspace),
                "GIT_INDEX_FILE": str(git_dir / "index"),
                **_IDENTITY,
            }
        )
        self._options = [o for o in SAFE_OPTIONS if not o.startswith("safe.bareRepository")]
        self._excludes: str | None = None

    def git(
        self, *arguments: str, data: bytes = b"", environment: dict[str, str] | None = None
    ) -> bytes:
        """Run git in the store."""
        environment = environment or self._environment
        cwd = Path(environment["GIT_WORK_TREE"])
        return run_git(
            arguments, cwd=cwd, environment=environment, options=self._options, data=data
        )

    def snapshot(self) -> tuple[str, dict[str, TreeEntry], list[str]]:
        """Record the working tree: its tree, its entries by path, and the paths left out."""
        try:
            skipped = self._refresh_index()
            tree = self.git("write-tree").decode().strip()
        except GitError:
            # The index is only a cache; recreate a damaged one.
            (self.git_dir / "index").unlink(missing_ok=True)
            skipped = self._refresh_index()
            tree = self.git("write-tree").decode().strip()
        entries = {}
        for line in self.git("ls-files", "-s", "-z").split(b"\0"):
            head, _, raw = line.partition(b"\t")
            if raw:
                path = os.fsdecode(raw)
                with contextlib.suppress(OSError):
                    mode = os.lstat(self.workspace / path).st_mode
                    entries[path] = TreeEntry(mode, head.split()[1].decode())
        return tree, entries, skipped

    def untracked(self, under: str = "") -> Iterator[str]:
        """Paths that are neither tracked nor ignored, including those in nested repositories."""
        environment = dict(self._environment)
        if under:
            environment["GIT_WORK_TREE"] = str(self.workspace / under)
            environment["GIT_INDEX_FILE"] = str(self.git_dir / "no-index")
        out = self.git("ls-files", "-o", "-z", "--exclude-standard", environment=environment)
        for raw in out.split(b"\0"):
            path = under + os.fsdecode(raw)
            if raw.endswith(b"/"):
                yield from self.untracked(path)
            elif raw:
                yield path

    def listing(self, tree: str) -> Iterator[tuple[str, str, str]]:
        """Path, git mode and blob of each file in a recorded tree."""
        for line in self.git("ls-tree", "-r", "-z", tree).split(b"\0"):
            head, _, raw = line.partition(b"\t")
            if raw:
                mode, _, blob = head.decode().split(" ")
                yield os.fsdecode(raw), mode, blob

    def blobs(self, names: Iterable[str]) -> dict[str, bytes]:
        """Contents by name of the blob (its hash, or `revision:path`)."""
        wanted = sorted(set(names))
        if not wanted:
            return {}
        out = self.git("cat-file", "--batch", data="\n".join(wanted).encode() + b"\n")
        contents, at = {}, 0
        for name in wanted:
            end = out.index(b"\n", at)
            header = out[at:end].split()
            if header[-1] == b"missing":
                raise GitError(f"{name} is missing")
            size = int(header[2])
            contents[name] = out[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return contents

    # --- the index --------------------------------------------------------------------------

    def _refresh_index(self) -> list[str]:
        """Update the index from the working tree; returns the paths that cannot be recorded."""
        self._prepare()
        changed = [p for p in self.git("diff-files", "--name-only", "-z").split(b"\0") if p]
        changed += [os.fsencode(path) for path in self.untracked()]
        ignored = self._tracked_but_ignored()
        if ignored:
            known = set(self.git("ls-files", "-z").split(b"\0"))
            changed += [path for path in ignored if path not in known]
        updates, dropped, skipped = [], [], []
        for path in changed:
            problem = self._unrecordable(path)
            if problem is None:
                updates.append(path)
            else:
                dropped.append(path)
                if problem:
                    skipped.append(os.fsdecode(path))
        if dropped:
            self.git("update-index", "-z", "--force-remove", "--stdin", data=_joined(dropped))
        if updates:
            options = ("-z", "--add", "--remove", "--replace", "--stdin")
            self.git("update-index", *options, data=_joined(updates))
        return skipped

    def _unrecordable(self, path: bytes) -> str | None:
        """Why a path cannot be recorded; empty if it does not exist, None if it can be."""
        full = os.path.join(os.fsencode(self.workspace), path)
        try:
            info = os.lstat(full)
        except OSError:
            return ""
        if stat.S_ISLNK(info.st_mode):
            return None
        if not stat.S_ISREG(info.st_mode):
            return ""
        if info.st_size > self._max_file_bytes:
            return "too large"
        return None if os.access(full, os.R_OK) else "unreadable"

    def _tracked_but_ignored(self) -> Sequence[bytes]:
        """Files that the user's repository tracks although an ignore rule matches them."""
        if not (self.workspace / ".git").exists():
            return []
        arguments = ("ls-files", "-c", "-i", "-z", "--exclude-standard")
        environment = git_environment(
            {"GIT_DIR": str(self.workspace / ".git"), "GIT_WORK_TREE": str(self.workspace)}
        )
        try:
            out = run_git(arguments, cwd=self.workspace, environment=environment)
        except GitError:  # a broken repository has no tracked files
            return []
        return [path for path in out.split(b"\0") if path]

    # --- the repository ---------------------------------------------------------------------

    def _prepare(self) -> None:
        if not (self.git_dir / "HEAD").exists():
            self.git_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in ("objects", "refs", "info"):
                (self.git_dir / folder).mkdir(exist_ok=True)
            (self.git_dir / "config").write_text(_CONFIG, encoding="utf-8")
            (self.git_dir / "info" / "attributes").write_text(_ATTRIBUTES, encoding="utf-8")
            (self.git_dir / "HEAD").write_text("ref: refs/heads/none\n", encoding="utf-8")
        excludes = _EXCLUDES + self._user_excludes()
        if excludes != self._excludes:
            (self.git_dir / "info" / "exclude").write_text(
                excludes, encoding="utf-8", errors="surrogateescape"
            )
            self._excludes = excludes

    def _user_excludes(self) -> str:
        """The user's ignore rules from files outside the working tree."""
        texts = []
        with contextlib.suppress(ValueError):
            inside = self._own.resolve().relative_to(self.workspace.resolve())
            texts.append(f"/{inside}/")
        candidates = [self.workspace / ".git" / "info" / "exclude"]
        with contextlib.suppress(GitError):
            arguments = ("config", "--global", "--type=path", "core.excludesFile")
            out = run_git(arguments, cwd=Path("/"), environment=git_environment(), accepted=(0, 1))
            if out.strip():
                candidates.insert(0, Path(os.fsdecode(out.strip())))
        for path in candidates:
            with contextlib.suppress(OSError):
                texts.append(path.read_text(encoding="utf-8", errors="surrogateescape"))
        return "\n".join(texts)


def _joined(paths: Iterable[bytes]) -> bytes:
    return b"".join(path + b"\0" for path in paths)
