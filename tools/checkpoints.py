"""Checkpoints: the working tree recorded in a private repository, and restored from it.

The private repository lies in laguna's state and has its own objects and index; the user's are
not touched. Untracked files are recorded, ignored ones are not, and those of nested repositories
are recorded like all others. Contents are kept byte for byte, permissions bit for bit. Before a
restore the present is recorded, so that a restore can be taken back too.
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
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laguna_agent.errors import LagunaError
from laguna_agent.tools.gitcommand import SAFE_OPTIONS, GitError, git_environment, run_git
from laguna_agent.tools.restoring import Restorer

MAX_FILE_BYTES = 64 << 20
"""Larger files are not recorded; a restore leaves them as they are."""
_BATCH = 100
_REFS = "refs/checkpoints"
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
# The repository's own .gitattributes would convert line ends, encodings and run filters.
_ATTRIBUTES = "* -text !eol !crlf !filter !ident !working-tree-encoding !diff !merge\n"
_ID = re.compile(r"[0-9a-f]{12}")


class CheckpointError(LagunaError):
    """A checkpoint could not be made, found or restored."""


@dataclass(frozen=True)
class Checkpoint:
    """A recorded state. `time` is in seconds since the epoch, `files` counts what was recorded."""

    id: str
    label: str
    time: float
    files: int
    skipped: tuple[str, ...] = ()
    """Files that were too large or unreadable and so are not part of it."""


@dataclass
class RestoreReport:
    """What a restore did, as paths relative to the workspace."""

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Paths that are not as they were, and why."""
    before: str = ""
    """The checkpoint of the state that the restore replaced."""


@dataclass(frozen=True)
class _Entry:
    mode: int
    """Type and permission bits, as `lstat` gives them."""
    blob: str


class Checkpoints:
    """The checkpoints of one workspace. Methods block; they may be called from any thread."""

    def __init__(
        self, workspace: Path, state: Path, *, max_file_bytes: int = MAX_FILE_BYTES
    ) -> None:
        """`state` is the repository's state directory (`paths.repository_state_dir`)."""
        self.workspace = workspace
        self._state = state
        self._store = state / "checkpoints"
        self._git_dir = self._store / "git"
        self._max_file_bytes = max_file_bytes
        self._environment = git_environment(
            {
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_DIR": str(self._git_dir),
                "GIT_WORK_TREE": str(workspace),
                "GIT_INDEX_FILE": str(self._git_dir / "index"),
            }
        )
        self._options = [o for o in SAFE_OPTIONS if not o.startswith("safe.bareRepository")]
        self._excludes: str | None = None

    # --- public -----------------------------------------------------------------------------

    def record(self, label: str) -> str:
        """Record the working tree as it is; returns the checkpoint's id.

        Raises CheckpointError.
        """
        with self._locked():
            return self._record(label)

    def history(self) -> list[Checkpoint]:
        """All checkpoints, the newest first."""
        if not self._git_dir.is_dir():
            return []
        with self._errors():
            out = self._git(
                "for-each-ref",
                "--sort=-creatordate",
                "--sort=-refname",
                "--format=%(refname)",
                _REFS,
            )
            found = [self.info(ref.rpartition("/")[2]) for ref in out.decode().split()]
        return sorted(found, key=lambda checkpoint: -checkpoint.time)

    def info(self, checkpoint: str) -> Checkpoint:
        """One checkpoint. Raises CheckpointError when there is none of that id."""
        meta = self._meta(checkpoint)
        return Checkpoint(
            checkpoint, meta["label"], meta["time"], meta["files"], tuple(meta.get("skipped", ()))
        )

    def changed_since(self, checkpoint: str) -> list[str]:
        """Paths, relative to the workspace, that are not now as they were."""
        with self._locked():
            then, now = self._entries(checkpoint), self._present()[0]
            return sorted(p for p in then.keys() | now.keys() if then.get(p) != now.get(p))

    def diff(self, checkpoint: str) -> str:
        """What has changed since, as a unified diff. Binary files are named only."""
        with self._locked(), self._errors():
            self._refresh_index()
            now = self._git("write-tree").decode().strip()
            out = self._git(
                "diff-tree",
                *("-r", "-p", "--no-ext-diff", "--no-textconv", "--no-color", "-M"),
                *("--src-prefix=a/", "--dst-prefix=b/"),
                f"{self._ref(checkpoint)}:tree",
                now,
            )
            return out.decode("utf-8", "replace")

    def restore(self, checkpoint: str, *, only: Collection[str] | None = None) -> RestoreReport:
        """Make the working tree what it was: contents, permissions, links, missing files.

        `only` limits it to these paths. Files that were ignored then are left alone. Raises
        CheckpointError when the checkpoint does not exist or the present could not be recorded
        first.
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
                blobs = self._blobs(then[path].blob for path in batch)
                for path in batch:
                    content = None if _same_content(then[path], now.get(path)) else then[path].blob
                    problem = restorer.write(
                        path, then[path].mode, None if content is None else blobs[content]
                    )
                    if problem:
                        report.failed[path] = problem
                    else:
                        report.written.append(path)
            # With the ignore files as they were, what is neither recorded nor ignored is new.
            self._git("read-tree", f"{self._ref(checkpoint)}:tree")
            kept = set(meta.get("skipped", ()))
            for path in sorted(self._untracked()):
                if path in kept or path not in now or (only is not None and path not in only):
                    continue
                problem = restorer.remove(path)
                if problem:
                    report.failed[path] = problem
                else:
                    report.removed.append(path)
            report.removed = sorted({*report.removed, *restorer.removed_in_the_way} - then.keys())
            return report

    def prune(self, keep: int) -> int:
        """Forget all but the newest `keep` checkpoints and free their space; returns how many."""
        with self._locked(), self._errors():
            old = self.history()[keep:]
            for checkpoint in old:
                self._git("update-ref", "-d", f"{_REFS}/{checkpoint.id}")
            self._git("repack", "-adq")
            self._git("prune", "--expire=now")
            return len(old)

    # --- recording --------------------------------------------------------------------------

    def _record(self, label: str) -> str:
        with self._errors():
            try:
                entries, skipped = self._present()
            except GitError:
                # The index is only a cache of what was recorded; a damaged one is made again.
                (self._git_dir / "index").unlink(missing_ok=True)
                entries, skipped = self._present()
            tree = self._git("write-tree").decode().strip()
            defaults, exceptions = _permissions(entries)
            meta = {
                "label": label,
                "time": time.time(),
                "files": len(entries),
                "modes": defaults,
                "exceptions": exceptions,
                "skipped": skipped,
            }
            blob = self._git("hash-object", "-w", "--stdin", data=json.dumps(meta).encode())
            listing = f"100644 blob {blob.decode().strip()}\tmeta\n040000 tree {tree}\ttree\n"
            top = self._git("mktree", data=listing.encode()).decode().strip()
            commit = self._git("commit-tree", top, data=b"checkpoint\n").decode().strip()
            self._git("update-ref", f"{_REFS}/{commit[:12]}", commit)
            return commit[:12]

    def _present(self) -> tuple[dict[str, _Entry], list[str]]:
        """What is there now, by path, and what had to be left out. Refreshes the index."""
        skipped = self._refresh_index()
        entries = {}
        for line in self._git("ls-files", "-s", "-z").split(b"\0"):
            if not line:
                continue
            head, _, raw = line.partition(b"\t")
            path = os.fsdecode(raw)
            try:
                mode = os.lstat(self.workspace / path).st_mode
            except OSError:
                continue
            entries[path] = _Entry(mode, head.split()[1].decode())
        return entries, skipped

    def _refresh_index(self) -> list[str]:
        self._prepare()
        changed = [p for p in self._git("diff-files", "--name-only", "-z").split(b"\0") if p]
        changed += [os.fsencode(path) for path in self._untracked()]
        known = None
        for path in self._tracked_but_ignored():
            if known is None:
                known = set(self._git("ls-files", "-z").split(b"\0"))
            if path not in known:
                changed.append(path)
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
            self._git("update-index", "-z", "--force-remove", "--stdin", data=_joined(dropped))
        if updates:
            options = ("-z", "--add", "--remove", "--replace", "--stdin")
            self._git("update-index", *options, data=_joined(updates))
        return skipped

    def _unrecordable(self, path: bytes) -> str | None:
        """Why a path cannot be recorded; empty when it is not there, None when it can be."""
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

    def _untracked(self, under: str = "") -> Iterator[str]:
        """Paths not in the index and not ignored, nested repositories looked into."""
        environment = dict(self._environment)
        if under:
            environment["GIT_WORK_TREE"] = str(self.workspace / under)
            environment["GIT_INDEX_FILE"] = str(self._git_dir / "no-index")
        out = self._git("ls-files", "-o", "-z", "--exclude-standard", environment=environment)
        for raw in out.split(b"\0"):
            path = under + os.fsdecode(raw)
            if raw.endswith(b"/"):
                yield from self._untracked(path)
            elif raw:
                yield path

    def _tracked_but_ignored(self) -> list[bytes]:
        if not (self.workspace / ".git").exists():
            return []
        arguments = ("ls-files", "-c", "-i", "-z", "--exclude-standard")
        try:
            out = run_git(arguments, cwd=self.workspace, environment=git_environment())
        except GitError:  # a broken repository: its index decides nothing
            return []
        return [path for path in out.split(b"\0") if path]

    # --- reading ----------------------------------------------------------------------------

    def _ref(self, checkpoint: str) -> str:
        if not _ID.fullmatch(checkpoint):
            raise CheckpointError(f"{checkpoint!r} is no checkpoint")
        return f"{_REFS}/{checkpoint}"

    def _meta(self, checkpoint: str) -> dict[str, Any]:
        reference = self._ref(checkpoint)
        try:
            return dict(json.loads(self._git("cat-file", "blob", f"{reference}:meta")))
        except (GitError, ValueError):
            raise CheckpointError(f"there is no checkpoint {checkpoint}") from None

    def _entries(self, checkpoint: str) -> dict[str, _Entry]:
        meta = self._meta(checkpoint)
        entries = {}
        listing = self._git("ls-tree", "-r", "-z", f"{self._ref(checkpoint)}:tree")
        for line in listing.split(b"\0"):
            if not line:
                continue
            head, _, raw = line.partition(b"\t")
            git_mode, _, blob = head.decode().split(" ")
            path = os.fsdecode(raw)
            mode = meta["exceptions"].get(path, meta["modes"].get(git_mode))
            if mode is not None:
                entries[path] = _Entry(mode, blob)
        return entries

    def _blobs(self, names: Iterable[str]) -> dict[str, bytes]:
        wanted = sorted(set(names))
        if not wanted:
            return {}
        out = self._git("cat-file", "--batch", data="\n".join(wanted).encode() + b"\n")
        blobs, at = {}, 0
        for name in wanted:
            end = out.index(b"\n", at)
            size = int(out[at:end].split()[2])
            blobs[name] = out[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return blobs

    # --- the private repository -------------------------------------------------------------

    def _prepare(self) -> None:
        if not (self._git_dir / "HEAD").exists():
            self._git_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in ("objects", "refs", "info"):
                (self._git_dir / folder).mkdir(exist_ok=True)
            (self._git_dir / "config").write_text(_CONFIG, encoding="utf-8")
            (self._git_dir / "info" / "attributes").write_text(_ATTRIBUTES, encoding="utf-8")
            (self._git_dir / "HEAD").write_text("ref: refs/heads/none\n", encoding="utf-8")
        excludes = self._user_excludes()
        if excludes != self._excludes:
            (self._git_dir / "info" / "exclude").write_text(
                excludes, encoding="utf-8", errors="surrogateescape"
            )
            self._excludes = excludes

    def _user_excludes(self) -> str:
        """The user's ignore rules that stand in no file of the working tree."""
        texts = []
        with contextlib.suppress(ValueError):
            inside = self._state.resolve().relative_to(self.workspace.resolve())
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

    def _git(
        self, *arguments: str, data: bytes = b"", environment: dict[str, str] | None = None
    ) -> bytes:
        environment = environment or self._environment
        cwd = Path(environment["GIT_WORK_TREE"])
        if arguments[0] == "commit-tree":
            who = {"NAME": "laguna", "EMAIL": "laguna@localhost"}
            environment = environment | {
                f"GIT_{role}_{key}": value
                for role in ("AUTHOR", "COMMITTER")
                for key, value in who.items()
            }
        return run_git(
            arguments, cwd=cwd, environment=environment, options=self._options, data=data
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process and thread at a time; what a killed one left locked is unlocked."""
        try:
            self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._store / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CheckpointError(f"no checkpoint: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (self._git_dir / "index.lock").unlink(missing_ok=True)
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


def _same_content(then: _Entry, now: _Entry | None) -> bool:
    return (
        now is not None
        and now.blob == then.blob
        and stat.S_IFMT(now.mode) == stat.S_IFMT(then.mode)
    )


def _joined(paths: Iterable[bytes]) -> bytes:
    return b"".join(path + b"\0" for path in paths)


def _git_mode(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "120000"
    return "100755" if mode & 0o100 else "100644"


def _permissions(entries: dict[str, _Entry]) -> tuple[dict[str, int], dict[str, int]]:
    """The commonest full mode of each of git's modes, and the paths that have another."""
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
