"""Checkpoints: records the working tree in a private repository and restores it.

The private repository is in laguna's state and has its own objects and index; the user's are not
touched. Untracked files are recorded and ignored ones are not; files of nested repositories are
recorded like others. Contents are kept byte for byte, permissions bit for bit. A restore first
records the current state, so that it can be undone too.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laguna_agent.tools.checkpoints.change import Edit
from laguna_agent.tools.checkpoints.changes import Changes
from laguna_agent.tools.checkpoints.restore import Restorer
from laguna_agent.tools.checkpoints.tree_state import CheckpointError, TreeEntry
from laguna_agent.tools.checkpoints.tree_store import MAX_BYTES, TreeStore
from laguna_agent.tools.repository.git_command import GitError

MAX_FILE_BYTES = 32 << 20
"""Larger files are not recorded, and a restore does not change them."""
KEEP = 400
"""Number of checkpoints kept per workspace."""
_LOOSE = 20_000
"""Loose objects from which the store is packed."""
_BATCH = 100
_REFS = "refs/checkpoints"
_HINT = "`laguna undo --list` lists checkpoints."
_ID = re.compile(r"[0-9a-f]{12}")


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
        max_bytes: int = MAX_BYTES,
        keep: int = KEEP,
    ) -> None:
        """`state` is the repository's state directory (`paths.repository_state_dir`).

        The oldest checkpoints are pruned when there are a quarter more than `keep`.
        """
        self.workspace = workspace
        self._keep = keep
        self._trees = TreeStore(
            workspace,
            state / "checkpoints" / "git",
            own=state,
            max_file_bytes=max_file_bytes,
            max_bytes=max_bytes,
        )
        self.changes = Changes(self._trees)

    # --- public -----------------------------------------------------------------------------

    def record(self, label: str) -> str:
        """Record the working tree; returns the id of the checkpoint.

        Raises CheckpointError.
        """
        with self._trees.locked():
            checkpoint = self._record(label)
            many = len(os.listdir(self._trees.git_dir / _REFS)) > self._keep + self._keep // 4
            if many or self._trees.loose > _LOOSE:
                self._prune()
            return checkpoint

    def history(self) -> list[Checkpoint]:
        """All checkpoints, newest first."""
        if not self._trees.git_dir.is_dir():
            return []
        with self._trees.errors():
            refs = self._trees.git("for-each-ref", "--format=%(refname)", _REFS).decode().split()
            metas = self._trees.blobs(f"{ref}:meta" for ref in refs)
        found = [
            _checkpoint(ref.rpartition("/")[2], json.loads(metas[f"{ref}:meta"])) for ref in refs
        ]
        return sorted(found, key=lambda checkpoint: -checkpoint.time)

    def info(self, checkpoint: str) -> Checkpoint:
        """One checkpoint. Raises CheckpointError if there is none with this id."""
        return _checkpoint(checkpoint, self._meta(checkpoint))

    def left_out_anew(self, checkpoint: Checkpoint) -> list[str]:
        """The files that this checkpoint leaves out, and that were not returned before."""
        listing = self._trees.git_dir / "left-out-said"
        with self._trees.errors():
            said = set(listing.read_bytes().split(b"\0")) if listing.exists() else set()
            new = [path for path in checkpoint.skipped if os.fsencode(path) not in said]
            if new:
                listing.write_bytes(b"\0".join(sorted(map(os.fsencode, checkpoint.skipped))))
            return new

    def changed_since(self, checkpoint: str) -> list[str]:
        """Paths, relative to the workspace, that differ from the checkpoint."""
        with self._trees.locked():
            then, now = self._entries(checkpoint), self._trees.state()
            left_out = now.skipped | set(self._meta(checkpoint).get("skipped", ()))
            paths = (then.keys() | now.entries.keys()) - left_out
            return sorted(path for path in paths if then.get(path) != now.entries.get(path))

    def between(self, earlier: str, later: str | None, paths: Collection[str]) -> dict[str, Edit]:
        """How these files differ between two checkpoints; None as the later is now."""
        with self._trees.locked():
            then = self._entries(earlier)
            now = self._trees.state_of(paths).entries if later is None else self._entries(later)
            edits = {path: (then.get(path), now.get(path)) for path in paths}
            return {path: edit for path, edit in edits.items() if edit[0] != edit[1]}

    def difference(self, earlier: str, later: str) -> list[str]:
        """Paths that differ between two checkpoints."""
        with self._trees.errors():
            then, now = self._entries(earlier), self._entries(later)
            left_out = {p for name in (earlier, later) for p in self.info(name).skipped}
            paths = (then.keys() | now.keys()) - left_out
            return sorted(path for path in paths if then.get(path) != now.get(path))

    def diff(self, checkpoint: str) -> str:
        """The changes since the checkpoint as a unified diff; binary files are only named."""
        with self._trees.locked():
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
        with self._trees.locked():
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
        self.changes.prune()
        self._trees.git("repack", "-adq")
        # Other sessions may hold states that no reference names yet.
        self._trees.git("prune", "--expire=1.day.ago")

    # --- recording --------------------------------------------------------------------------

    def _record(self, label: str) -> str:
        tree, state = self._trees.snapshot()
        defaults, exceptions = _permissions(state.entries)
        meta = {
            "label": label,
            "time": time.time(),
            "files": len(state.entries),
            "modes": defaults,
            "exceptions": exceptions,
            "skipped": sorted(state.skipped),
        }
        blob = self._trees.add_blob(json.dumps(meta).encode())
        listing = f"100644 blob {blob}\tmeta\n040000 tree {tree}\ttree\n"
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
