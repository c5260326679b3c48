"""A private git repository that stores states of a working tree byte for byte.

It has its own objects and index; the user's are not touched. The configuration of the repository
in the working tree does not apply: no filters, no conversion of line endings, no hooks.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from laguna_agent.file_lock import locked
from laguna_agent.tools.checkpoints.tree_state import CheckpointError, TreeEntry, TreeState
from laguna_agent.tools.files.workspace import open_beneath
from laguna_agent.tools.repository.git_command import (
    SAFE_OPTIONS,
    TIMEOUT,
    GitError,
    GitTimeoutError,
    git_environment,
    run_git,
)

MAX_FILES = 100_000
"""Files of the largest working tree that is recorded."""
MAX_BYTES = 256 << 20
"""Bytes that are recorded of files that are new or changed at the same time, smallest first."""
_SMALL = 64 << 10
"""Files up to this size are recorded even where larger ones were left out before."""
_LIST_TIMEOUT = 15.0
_ADD_TIMEOUT = 60.0
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


class TreeStore:
    """Writes the working tree into git trees. Methods raise GitError; one caller at a time, which
    holds `locked()`."""

    def __init__(
        self,
        workspace: Path,
        git_dir: Path,
        *,
        own: Path,
        max_file_bytes: int,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`own` is laguna's state, which is excluded if it is in the workspace."""
        self.workspace = workspace
        self.git_dir = git_dir
        self._own = own
        self._max_file_bytes = max_file_bytes
        self._max_bytes = max_bytes
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
        self._excludes_file: Path | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the store, and remove a lock that a killed git left in it. What fails
        inside is raised as CheckpointError."""
        with self.errors():
            self.git_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self.git_dir.parent / "lock"):
                (self.git_dir / "index.lock").unlink(missing_ok=True)
                yield

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raise what fails inside as CheckpointError."""
        try:
            yield
        except GitError as error:
            first = str(error).strip().split("\n")[0]
            raise CheckpointError(f"the checkpoint failed: {first}") from error
        except OSError as error:
            raise CheckpointError(f"the checkpoint failed: {error}") from error

    def git(
        self,
        *arguments: str,
        data: bytes = b"",
        environment: dict[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> bytes:
        """Run git in the store."""
        environment = environment or self._environment
        cwd = Path(environment["GIT_WORK_TREE"])
        return run_git(
            arguments,
            cwd=cwd,
            environment=environment,
            options=self._options,
            data=data,
            timeout=timeout,
        )

    @property
    def loose(self) -> int:
        """About how many loose objects there are, from a 256th of them."""
        try:
            return len(os.listdir(self.git_dir / "objects" / "17")) * 256
        except FileNotFoundError:
            return 0

    def snapshot(self) -> tuple[str, TreeState]:
        """Record the working tree: its tree, and its files."""
        state = self.state()
        return self.git("write-tree").decode().strip(), state

    def state(self) -> TreeState:
        """The files of the working tree, whose contents are in the store from now on."""
        started = time.time()
        try:
            skipped = self._refresh_index()
        except GitTimeoutError:
            raise CheckpointError("it takes too long to look at all files") from None
        except GitError:
            # The index is only a cache; recreate a damaged one.
            (self.git_dir / "index").unlink(missing_ok=True)
            skipped = self._refresh_index()
        return TreeState(self._indexed(), frozenset(skipped), started)

    def state_of(self, paths: Iterable[str]) -> TreeState:
        """The same of these paths only, ignored ones too, without a look at the others."""
        self._prepare()
        entries, skipped, started = {}, set(), time.time()
        for path in paths:
            try:
                entry = self._stored(path)
            except OSError:
                continue
            if entry is None:
                skipped.add(path)
            else:
                entries[path] = entry
        return TreeState(entries, frozenset(skipped), started)

    def _stored(self, path: str) -> TreeEntry | None:
        """Put one file into the store; None if it is too large or special. Raises OSError, as where
        it does not exist."""
        info = os.lstat(self.workspace / path)
        if stat.S_ISDIR(info.st_mode):
            raise IsADirectoryError(path)
        if stat.S_ISLNK(info.st_mode):
            content = os.fsencode(os.readlink(self.workspace / path))
        elif stat.S_ISREG(info.st_mode) and info.st_size <= self._max_file_bytes:
            descriptor = open_beneath(self.workspace, path, os.O_RDONLY | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as stream:
                content = stream.read(self._max_file_bytes)
        else:
            return None
        return TreeEntry(info.st_mode, self.add_blob(content))

    def add_blob(self, content: bytes) -> str:
        """Put a content into the store; returns its name."""
        return self.git("hash-object", "-w", "--stdin", data=content).decode().strip()

    def _indexed(self) -> dict[str, TreeEntry]:
        entries = {}
        for line in self.git("ls-files", "-s", "-z").split(b"\0"):
            head, _, raw = line.partition(b"\t")
            if raw:
                path = os.fsdecode(raw)
                with contextlib.suppress(OSError):
                    mode = os.lstat(self.workspace / path).st_mode
                    entries[path] = TreeEntry(mode, head.split()[1].decode())
        return entries

    def untracked(self, under: str = "") -> Iterator[str]:
        """Paths that are neither tracked nor ignored, including those in nested repositories."""
        environment = dict(self._environment)
        if under:
            environment["GIT_WORK_TREE"] = str(self.workspace / under)
            environment["GIT_INDEX_FILE"] = str(self.git_dir / "no-index")
        out = self.git(
            *("ls-files", "-o", "-z", "--exclude-standard"),
            environment=environment,
            timeout=_LIST_TIMEOUT,
        )
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
        if len(changed) > MAX_FILES:
            raise CheckpointError(f"more than {MAX_FILES:,} files are new here")
        ignored = self._tracked_but_ignored()
        if ignored:
            known = set(self.git("ls-files", "-z").split(b"\0"))
            changed += [path for path in ignored if path not in known]
        sizes: dict[bytes, int] = {}
        dropped, skipped = [], []
        for path in changed:
            size = self._recordable(path)
            if size is None:
                dropped.append(path)
            elif size < 0:
                dropped.append(path)
                skipped.append(path)
            else:
                sizes[path] = size
        left_out = self._left_out(sizes)
        updates = [path for path in sizes if path not in left_out]
        dropped += left_out
        if dropped:
            self.git("update-index", "-z", "--force-remove", "--stdin", data=_joined(dropped))
        if updates:
            options = ("-z", "--add", "--remove", "--replace", "--stdin")
            data = _joined(updates)
            self.git("update-index", *options, data=data, timeout=_ADD_TIMEOUT)
        return [os.fsdecode(path) for path in sorted([*skipped, *left_out])]

    def _left_out(self, sizes: dict[bytes, int]) -> set[bytes]:
        """The largest files, where all of these together are too much to record.

        What was left out once stays left out, or a large tree would be copied bit by bit.
        """
        listing = self.git_dir / "left-out"
        before: set[bytes] = set()
        with contextlib.suppress(FileNotFoundError):
            before = set(listing.read_bytes().split(b"\0"))
        left = {path for path in before & sizes.keys() if sizes[path] > _SMALL}
        total = 0
        for path in sorted(sizes.keys() - left, key=sizes.__getitem__):
            total += sizes[path]
            if total > self._max_bytes:
                left.add(path)
        if left - before:
            listing.write_bytes(b"\0".join(sorted(left | before)))
        return left

    def _recordable(self, path: bytes) -> int | None:
        """The size of a file or link; None if there is none, negative if it cannot be recorded."""
        full = os.path.join(os.fsencode(self.workspace), path)
        try:
            info = os.lstat(full)
        except OSError:
            return None
        if stat.S_ISLNK(info.st_mode):
            return 0
        if not stat.S_ISREG(info.st_mode):
            return None
        readable = info.st_size <= self._max_file_bytes and os.access(full, os.R_OK)
        return info.st_size if readable else -1

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
        if self._excludes_file is None:
            self._excludes_file = Path(os.devnull)
            with contextlib.suppress(GitError):
                arguments = ("config", "--global", "--type=path", "core.excludesFile")
                environment = git_environment()
                out = run_git(arguments, cwd=Path("/"), environment=environment, accepted=(0, 1))
                self._excludes_file = Path(os.fsdecode(out.strip()) or os.devnull)
        for path in (self._excludes_file, self.workspace / ".git" / "info" / "exclude"):
            with contextlib.suppress(OSError):
                texts.append(path.read_text(encoding="utf-8", errors="surrogateescape"))
        return "\n".join(texts)


def _joined(paths: Iterable[bytes]) -> bytes:
    return b"".join(path + b"\0" for path in paths)
