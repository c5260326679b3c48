"""The changes that turns made to files, each recorded by itself, taken back and made again.

A change is the difference between the states of the working tree before and after something that
may write: a tool call, a check, a command in the background. What the person or another session
does between them is in none. Taking changes back merges the file as it is now with the two states:
what was written since stays, and where that cannot be, the file is left as it is.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from laguna_agent.tools.checkpoints.change import (
    Change,
    Edit,
    Origin,
    Outcome,
    Planned,
    Step,
    Taken,
    edits_by_file,
)
from laguna_agent.tools.checkpoints.restore import Restorer
from laguna_agent.tools.checkpoints.tree_state import TreeEntry, TreeState
from laguna_agent.tools.checkpoints.tree_store import TreeStore
from laguna_agent.tools.checkpoints.unfinished import Mark, running_marks, take_left
from laguna_agent.tools.files.diffs import changed_line_counts, unified
from laguna_agent.tools.repository.git_command import GitError

KEEP = 2_000
"""Number of changes kept per workspace."""
_REFS = "refs/changes"
_DIFF_BYTES = 1 << 20
"""Bytes of the largest file whose lines are compared for a preview."""
_OVERLAP = "it was changed since, in the same lines"
_TYPE = "it was changed since, and cannot be merged"
_MADE_AGAIN = "it was removed, and made again since"
_GONE = "it was changed, and removed since"
_EDITED = "it was made, and changed since"


class Changes:
    """The changes in one workspace. Methods block, and raise CheckpointError."""

    def __init__(self, trees: TreeStore, *, keep: int = KEEP) -> None:
        self._trees = trees
        self._keep = keep
        self._marks = trees.git_dir.parent / "unfinished"

    # --- recording --------------------------------------------------------------------------

    def state(self, paths: Collection[str] | None = None) -> TreeState:
        """The files now, or only `paths` of them."""
        with self._trees.locked():
            return self._trees.state() if paths is None else self._trees.state_of(paths)

    def begin(self, origin: Origin, about: str = "") -> tuple[TreeState, Mark]:
        """The files now, before something that may change any of them, and the mark of that."""
        with self._trees.locked():
            self._record_left()
            state = self._trees.state()
            return state, Mark(self._marks, {"origin": vars(origin), "about": about}, state)

    def _record_left(self) -> None:
        """Record the changes of processes that were killed while they made them."""
        for left in take_left(self._marks):
            files = _differing(left.before, self._trees.state())
            for change in self._since(left.before.time):
                files = {p: e for p, e in files.items() if change.files.get(p) != e}
            made = {p: e for p, e in files.items() if left.made(self._trees.workspace, p)}
            if made:
                origin = Origin(**{**left.origin, "of": tuple(left.origin["of"])})
                self._write(Change(origin, min(left.until, time.time()), made, left.about))

    def record(
        self,
        origin: Origin,
        before: TreeState,
        *,
        paths: Collection[str] | None = None,
        about: str = "",
    ) -> tuple[Change | None, TreeState]:
        """Record what differs now from `before`, which was taken of the same `paths`; returns the
        change, if there is one, and the state now.

        What another session changed at the same time is left out, as far as that can be told.
        """
        with self._trees.locked():
            now = self._trees.state() if paths is None else self._trees.state_of(paths)
            files = _differing(before, now)
            if paths is None and files:
                files = self._own(files, origin.session, about, before.time)
            change = Change(origin, time.time(), files, about, exact=paths is not None)
            return (self._write(change) if files else None), now

    def _own(
        self, files: dict[str, Edit], session: str, about: str, since: float
    ) -> dict[str, Edit]:
        """The files that no other session changed: an edit says so exactly; of two commands, the
        one whose text names the file did, or else the one that ended first."""
        others = [change for change in self._since(since) if change.origin.session != session]
        running = [text for other, text in running_marks(self._marks) if other != session]
        own = {}
        for path, edit in files.items():
            name = re.compile(rf"(?<![\w.-]){re.escape(os.path.basename(path))}(?![\w-])")
            same = [change for change in others if change.files.get(path) == edit]
            theirs = bool(same) or any(map(name.search, running))
            if not theirs or (name.search(about) and not any(change.exact for change in same)):
                own[path] = edit
        return own

    def _since(self, when: float) -> list[Change]:
        """The changes recorded since a time."""
        refs = []
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._trees.git_dir / _REFS):
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime >= when - 1:
                        refs.append(f"{_REFS}/{entry.name}")
        return [change for change in self._read(refs) if change.time >= when]

    def _write(self, change: Change) -> Change:
        blobs = sorted({entry.blob for edit in change.files.values() for entry in edit if entry})
        meta = self._trees.add_blob(_encoded(change))
        listing = [f"100644 blob {blob}\t{number}\n" for number, blob in enumerate(blobs)]
        listing.append(f"100644 blob {meta}\tmeta\n")
        tree = self._trees.git("mktree", data="".join(listing).encode()).decode().strip()
        self._trees.git("update-ref", f"{_REFS}/{tree[:16]}", tree)
        return change

    # --- reading ----------------------------------------------------------------------------

    def steps(
        self, sessions: Collection[str] | None = None, also: Iterable[Step] = ()
    ) -> list[Step]:
        """Turns, undos and redos that changed files, the latest first; of `sessions` or of all.
        `also` are turns that are known otherwise."""
        with self._trees.locked():
            self._record_left()
            changes = self._read(self._refs())
        steps = {step.origin.turn: step for step in also}
        for change in changes:
            origin = change.origin
            if sessions is not None and origin.session not in sessions:
                continue
            steps.setdefault(origin.turn, Step(origin)).changes.append(change)
            for turn in origin.of:
                if turn in steps:
                    steps[turn].undone = origin.kind == "undo"
        for step in steps.values():  # an undo counts as undone when all of it was made again
            if step.origin.kind == "undo":
                step.undone = not any(steps[t].undone for t in step.origin.of if t in steps)
        return sorted(steps.values(), key=lambda step: -step.time)

    def _refs(self) -> list[str]:
        if not (self._trees.git_dir / _REFS).is_dir():
            return []
        return self._trees.git("for-each-ref", "--format=%(refname)", _REFS).decode().split()

    def _read(self, refs: Sequence[str]) -> list[Change]:
        metas = self._trees.blobs(f"{ref}:meta" for ref in refs)
        return sorted((_decoded(data) for data in metas.values()), key=lambda change: change.time)

    def prune(self) -> None:
        """Delete all but the newest changes, while the store is locked; `git prune` frees their
        space."""
        refs = self._refs()
        if len(refs) > self._keep:
            metas = self._trees.blobs(f"{ref}:meta" for ref in refs)
            refs.sort(key=lambda ref: _decoded(metas[f"{ref}:meta"]).time)
            for ref in refs[: -self._keep]:
                self._trees.git("update-ref", "-d", ref)

    # --- taking back ------------------------------------------------------------------------

    def plan(self, steps: Sequence[Step], *, only: Collection[str] | None = None) -> list[Planned]:
        """What taking these steps back would do to each file; files that are so already are not
        named. `only` limits it to these paths."""
        with self._trees.locked():
            return list(self._plan(steps, only))

    def take_back(
        self,
        steps: Sequence[Step],
        origin: Origin,
        *,
        only: Collection[str] | None = None,
        record: bool = True,
    ) -> Taken:
        """Take these steps back, and record that as the change of `origin`."""
        with self._trees.locked():
            plan = list(self._plan(steps, only))
            paths = [item.path for item in plan]
            before = self._trees.state_of(paths)
            taken = Taken(origin)
            restorer = Restorer(self._trees.workspace, recorded=set())
            blobs = self._trees.blobs(item.then.blob for item in plan if item.then is not None)
            # What is removed first makes room for what is written.
            for item in sorted(plan, key=lambda item: item.then is not None):
                problem: str | None = item.why
                if item.outcome != "conflict":
                    if item.then is None:
                        problem = restorer.remove(item.path)
                    else:
                        same = item.then.same_content(item.now)
                        content = None if same else blobs[item.then.blob]
                        problem = restorer.write(item.path, item.then.mode, content)
                if problem:
                    taken.left[item.path] = problem
                else:
                    taken.done.append(item)
            taken.done.sort(key=lambda item: item.path)
            if record and (taken.done or not taken.left):
                files = _differing(before, self._trees.state_of(paths))
                taken.change = self._write(Change(origin, time.time(), files))
            return taken

    def _plan(self, steps: Sequence[Step], only: Collection[str] | None) -> Iterator[Planned]:
        changes = sorted((c for s in steps for c in s.changes), key=lambda change: change.time)
        edits = edits_by_file(changes)
        paths = sorted(p for p in edits if only is None or p in only)
        now = self._trees.state_of(paths)
        for path in paths:
            item = self._planned(path, now, edits[path])
            if item is not None:
                yield item

    def _planned(self, path: str, state: TreeState, edits: Sequence[Edit]) -> Planned | None:
        """Go back over the edits of one file, from the last to the first."""
        now = wanted = state.entries.get(path)
        if path in state.skipped:
            return Planned(path, "conflict", now, now, "it is too large now, or no file")
        for before, after in reversed(edits):
            wanted, why = self._merged(wanted, after, before)
            if why:
                return self._described(Planned(path, "conflict", now, now, why), edits)
        if wanted == now:
            return None
        outcome: Outcome = "merged"
        if wanted is None or wanted == edits[0][0]:
            outcome = "removed" if wanted is None else "restored"
        return self._described(Planned(path, outcome, now, wanted), edits)

    def _described(self, item: Planned, edits: Sequence[Edit]) -> Planned:
        """With the diff and its line counts, and how many lines of the person's own stay."""
        item.diff = self._diff(item.path, item.now, item.then)
        item.added, item.removed = changed_line_counts(item.diff)
        last = edits[-1][1]
        if item.outcome in ("merged", "conflict") and item.now is not None and last is not None:
            item.yours = sum(changed_line_counts(self._diff(item.path, last, item.now)))
        return item

    def _merged(
        self, now: TreeEntry | None, after: TreeEntry | None, before: TreeEntry | None
    ) -> tuple[TreeEntry | None, str]:
        """`now` with the change from `after` to `before`; or why that cannot be."""
        if now == after:
            return before, ""
        if now == before or before == after:
            return now, ""
        if now is None:
            return None, _GONE
        if after is None or before is None:
            return now, _MADE_AGAIN if after is None else _EDITED
        mode = before.mode if now.mode == after.mode else now.mode
        if now.same_content(after):
            return TreeEntry(mode, before.blob), ""
        if before.same_content(after) or now.same_content(before):
            return TreeEntry(mode, now.blob), ""
        if not all(stat.S_ISREG(entry.mode) for entry in (now, after, before)):
            return now, _TYPE
        blobs = self._trees.blobs([now.blob, after.blob, before.blob])
        contents = [blobs[entry.blob] for entry in (now, after, before)]
        if any(b"\0" in content[:8_000] for content in contents):
            return now, _TYPE
        merged = self._merge_texts(contents)
        return (now, _OVERLAP) if merged is None else (TreeEntry(mode, merged), "")

    def _merge_texts(self, contents: Sequence[bytes]) -> str | None:
        """The blob of the first text with the change from the second to the third, if it can be."""
        with tempfile.TemporaryDirectory(prefix="laguna-") as scratch:
            names = [os.path.join(scratch, name) for name in ("now", "after", "before")]
            for name, content in zip(names, contents, strict=True):
                Path(name).write_bytes(content)
            try:
                return self._trees.add_blob(self._trees.git("merge-file", "-p", "--quiet", *names))
            except GitError:  # its status is the number of conflicts
                return None

    def _diff(self, path: str, old: TreeEntry | None, new: TreeEntry | None) -> str:
        """A unified diff of one file; empty where only its permissions differ."""
        if old is not None and old.same_content(new):
            return ""
        entries = [entry for entry in (old, new) if entry is not None]
        blobs = self._trees.blobs(entry.blob for entry in entries)
        texts = [blobs[entry.blob] if entry is not None else b"" for entry in (old, new)]
        first = "/dev/null" if old is None else f"a/{path}"
        second = "/dev/null" if new is None else f"b/{path}"
        header = f"--- {first}\n+++ {second}\n"
        if any(b"\0" in text[:8_000] or len(text) > _DIFF_BYTES for text in texts):
            return f"{header}Binary files differ\n"
        return header + unified(*(text.decode("utf-8", "replace") for text in texts))


def _differing(before: TreeState, now: TreeState) -> dict[str, Edit]:
    old, new = before.entries, now.entries
    known = (old.keys() | new.keys()) - before.skipped - now.skipped
    return {p: (old.get(p), new.get(p)) for p in sorted(known) if old.get(p) != new.get(p)}


# --- on disk --------------------------------------------------------------------------------


def _encoded(change: Change) -> bytes:
    files = {
        path: [entry and [entry.mode, entry.blob] for entry in edit]
        for path, edit in change.files.items()
    }
    more = {"time": change.time, "files": files, "about": change.about, "exact": change.exact}
    return json.dumps({**vars(change.origin), **more}).encode()


def _decoded(data: bytes) -> Change:
    fields = json.loads(data)
    when, files = fields.pop("time"), fields.pop("files")
    about, exact = fields.pop("about", ""), fields.pop("exact", False)
    origin = Origin(**{**fields, "of": tuple(fields["of"])})
    edits = {
        path: (old and TreeEntry(*old), new and TreeEntry(*new))
        for path, (old, new) in files.items()
    }
    return Change(origin, when, edits, about, exact)
