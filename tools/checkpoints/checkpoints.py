"""Checkpoints: records the working tree in a private repository and restores it.

The private repository is in laguna's state and has its own objects and index; the user's are not
touched. Untracked files are recorded and ignored ones are not; files of nested repositories are
recorded like others. Contents are kept byte for byte, permissions bit for bit. A restore first
records the current state, so that it can be undone too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laguna_agent.errors import LagunaError
from laguna_agent.tools.checkpoints.restore import Restorer
from laguna_agent.tools.checkpoints.tree_store import TreeEntry, TreeStore
from laguna_agent.tools.repository.git_command import GitError

MAX_FILE_BYTES = 64 << 20
"""Larger files are not recorded, and a restore does not change them."""
KEEP = 400
"""Number of checkpoints kept per workspace."""
_BATCH = 100
_REFS = "refs/checkpoints"
_HINT = "`laguna undo --list` lists checkpoints."
_ID = re.compile(r"[0-9a-f]{12}")


class CheckpointError(LagunaError):
    """A checkpoint could not be recorded, found or restored."""


@dataclass(frozen=True)
class Checkpoint:
    """A recorded state. `time` is in seconds since 1970, `files` the number of recorded files."""

    id: str
    label: str
    time: float
    files: int
    skipped: tuple[str, ...] = ()
    """Files that were too large or unreadable, and so are not recorded."""


@dataclass
class RestoreReport:
    """What a restore changed, as paths relative to the workspace."""

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Paths that were not restored, and why."""
    before: str = ""
    """The checkpoint of the state before the restore."""


class Checkpoints:
    """The checkpoints of one workspace. Methods block and may be called from any thread."""

    def __init__(
        self,
        workspace: Path,
        state: Path,
        *,
        max_file_bytes: int = MAX_FILE_BYTES,
        keep: int = KEEP,
    ) -> None:
        """`state` is the repository's state directory (`paths.repository_state_dir`).

        The oldest checkpoints are pruned when there are a quarter more than `keep`.
        """
        self.workspace = workspace
        self._store = state / "checkpoints"
        self._keep = keep
        self._trees = TreeStore(
            workspace, self._store / "git", own=state, max_file_bytes=max_file_bytes
        )

    # --- public -----------------------------------------------------------------------------

    def record(self, label: str) -> str:
        """Record the working tree; returns the id of the checkpoint.

        Raises CheckpointError.
        """
        with self._locked():
            checkpoint = self._record(label)
            with self._errors():
                if len(os.listdir(self._trees.git_dir / _REFS)) > self._keep + self._keep // 4:
                    self._prune()
            return checkpoint

    def history(self) -> list[Checkpoint]:
        """All checkpoints, newest first."""
        if not self._trees.git_dir.is_dir():
            return []
        with self._errors():
            refs = self._trees.git("for-each-ref", "--format=%(refname)", _REFS).decode().split()
            metas = self._trees.blobs(f"{ref}:meta" for ref in refs)
        found = [
            _checkpoint(ref.rpartition("/")[2], json.loads(metas[f"{ref}:meta"])) for ref in refs
        ]
        return sorted(found, key=lambda checkpoint: -checkpoint.time)

    def info(self, checkpoint: str) -> Checkpoint:
        """One checkpoint. Raises CheckpointError if there is none with this id."""
        return _checkpoint(checkpoint, self._meta(checkpoint))

    def changed_since(self, checkpoint: str) -> list[str]:
        """Paths, relative to the workspace, that differ from the checkpoint."""
        with self._locked(), self._errors():
            then, now = self._entries(checkpoint), self._trees.snapshot()[1]
            return sorted(p for p in then.keys() | now.keys() if then.get(p) != now.get(p))

    def diff(self, checkpoint: str) -> str:
        """The changes since the checkpoint as a unified diff; binary files are only named."""
        with self._locked(), self._errors():
            now = self._trees.snapshot()[0]
            out = self._trees.git(
                "diff-tree",
                *("-r", "-p", "--no-ext-diff", "--no-textconv", "--no-color", "-M"),
                *("--src-prefix=a/", "--dst-prefix=b/"),
                f"{self._ref(checkpoint)}:tree",
                now,
            )
            return out.decode("utf-8", "replace")

    def restore(self, checkpoint: str, *, only: Collection[str] | None = None) -> RestoreReport:
        """Restore the working tree: contents, permissions, links, missing files.

        `only` limits it to these paths. Files that were ignored at the checkpoint are not touched.
        Raises CheckpointError if the checkpoint does not exist or the current state cannot be
        recorded first.
        """
        with self._locked(), self._errors():
            meta = self._meta(checkpoint)
            then = self._entries(checkpoint)
            before = self._record(f"before restoring {checkpoint}")
            now = self._entries(before)
            report = RestoreReport(before=before)
            restorer = Restorer(self.workspace, recorded=set(now))
            differing = sorted(
                p for p in then if then[p] != now.get(p) and (only is None or p in only)
            )
            for start in range(0, len(differing), _BATCH):
                batch = differing[start : start + _BATCH]
                blobs = self._trees.blobs(then[path].blob for path in batch)
                for path in batch:
                    content = None if then[path].same_content(now.get(path)) else then[path].blob
                    problem = restorer.write(
                        path, then[path].mode, None if content is None else blobs[content]
                    )
                    if problem:
                        report.failed[path] = problem
                    else:
                        report.written.append(path)
            # By the restored ignore files, a file that is neither recorded nor ignored is new.
            self._trees.git("read-tree", "--reset", f"{self._ref(checkpoint)}:tree")
            kept = set(meta.get("skipped", ()))
            for path in sorted(self._trees.untracked()):
                if path in kept or path not in now or (only is not None and path not in only):
                    continue
                problem = restorer.remove(path)
                if problem:
                    report.failed[path] = problem
                else:
                    report.removed.append(path)
            report.removed = sorted({*report.removed, *restorer.removed_in_the_way} - then.keys())
            return report

    def _prune(self) -> None:
        """Delete all but the newest checkpoints and free their space."""
        for checkpoint in self.history()[self._keep :]:
            self._trees.git("update-ref", "-d", f"{_REFS}/{checkpoint.id}")
        self._trees.git("repack", "-adq")
        self._trees.git("prune", "--expire=now")

    # --- recording --------------------------------------------------------------------------

    def _record(self, label: str) -> str:
        with self._errors():
            tree, entries, skipped = self._trees.snapshot()
            defaults, exceptions = _permissions(entries)
            meta = {
                "label": label,
                "time": time.time(),
                "files": len(entries),
                "modes": defaults,
                "exceptions": exceptions,
                "skipped": skipped,
            }
            blob = self._trees.git("hash-object", "-w", "--stdin", data=json.dumps(meta).encode())
            listing = f"100644 blob {blob.decode().strip()}\tmeta\n040000 tree {tree}\ttree\n"
            top = self._trees.git("mktree", data=listing.encode()).decode().strip()
            commit = self._trees.git("commit-tree", top, data=b"checkpoint\n").decode().strip()
            self._trees.git("update-ref", f"{_REFS}/{commit[:12]}", commit)
            return commit[:12]

    # --- reading ----------------------------------------------------------------------------

    def _ref(self, checkpoint: str) -> str:
        if not _ID.fullmatch(checkpoint):
            raise CheckpointError(f"{checkpoint!r} is not a checkpoint id", hint=_HINT)
        return f"{_REFS}/{checkpoint}"

    def _meta(self, checkpoint: str) -> dict[str, Any]:
        reference = self._ref(checkpoint)
        try:
            return dict(json.loads(self._trees.git("cat-file", "blob", f"{reference}:meta")))
        except (GitError, ValueError):
            raise CheckpointError(f"there is no checkpoint {checkpoint}", hint=_HINT) from None

    def _entries(self, checkpoint: str) -> dict[str, TreeEntry]:
        meta = self._meta(checkpoint)
        entries = {}
        for path, git_mode, blob in self._trees.listing(f"{self._ref(checkpoint)}:tree"):
            mode = meta["exceptions"].get(path, meta["modes"].get(git_mode))
            if mode is not None:
                entries[path] = TreeEntry(mode, blob)
        return entries

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the store, and remove a lock that a killed git left in it."""
        try:
            self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._store / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CheckpointError(f"the checkpoint failed: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (self._trees.git_dir / "index.lock").unlink(missing_ok=True)
            yield
        finally:
            os.close(lock)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except GitError as error:
            first = str(error).strip().split("\n")[0]
            raise CheckpointError(f"the checkpoint failed: {first}") from error
        except OSError as error:
            raise CheckpointError(f"the checkpoint failed: {error}") from error


def _checkpoint(name: str, meta: dict[str, Any]) -> Checkpoint:
    skipped = tuple(meta.get("skipped", ()))
    return Checkpoint(name, meta["label"], meta["time"], meta["files"], skipped)


def _git_mode(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "120000"
    return "100755" if mode & 0o100 else "100644"


def _permissions(entries: dict[str, TreeEntry]) -> tuple[dict[str, int], dict[str, int]]:
    """The most common full mode for each of git's modes, and the paths with another mode."""
    counts: dict[str, Counter[int]] = {}
    for entry in entries.values():
        counts.setdefault(_git_mode(entry.mode), Counter())[entry.mode] += 1
    defaults = {name: counter.most_common(1)[0][0] for name, counter in counts.items()}
    exceptions = {
        path: entry.mode
        for path, entry in entries.items()
        if defaults[_git_mode(entry.mode)] != entry.mode
    }
    return defaults, exceptions
