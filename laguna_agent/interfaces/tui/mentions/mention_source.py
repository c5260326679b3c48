"""The names that `@` completes: the repository's files, except ignored ones, and their symbols.

Both are read in the background and can be searched while they are read. Files come from git, in a
thread; symbols from a process of their own that the first search for one starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laguna_agent.interfaces.tui.mentions.fuzzy import FuzzyMatch, Names
from laguna_agent.policy.sanitize import is_plain
from laguna_agent.programs import python_command
from laguna_agent.tools.repository.git_command import GitError, git_process

if TYPE_CHECKING:
    from laguna_agent.tools.code.definitions import Batch

MAX_WALKED = 200_000
"""Files that are listed without git."""
_FRESH_S = 20.0
"""Seconds before a listing is read again, for each second that reading it took."""
_FIRST_WAIT_S = 0.05
"""Seconds that the first search waits, enough to list a small repository."""
_PERIOD_S, _MAX_SHARE = 0.1, 0.25
"""Seconds between two searches while names are read, and the share of time they may take."""
_MAX_HITS, _SYMBOL_HITS, _FILES_FIRST = 24, 3, 5
"""Hits of a search, symbols among them, and the files listed before the symbols."""
_READ_BYTES = 1 << 16
_WALK_BATCH = 1_000


@dataclass(frozen=True)
class Matches:
    """The best matches, and a note if others may be missing."""

    hits: list[FuzzyMatch]
    note: str = ""


class MentionSource:
    """The names of one repository; kept, and read again when they are old. Paths are relative to
    the directory `cwd`, in which the person works."""

    def __init__(self, root: Path, cwd: Path | None = None) -> None:
        self.root = root
        self.files = _FileNames(root, cwd)
        self.symbols = _SymbolNames(root, self.files, cwd)

    async def search(self, query: str, offer: Callable[[Matches], None]) -> None:
        """Offer the best matches, and others when they change, until all names are read."""
        symbolic = len(query) >= 2 and "/" not in query and "." not in query
        readers = [self.files, self.symbols] if symbolic else [self.files]
        stop = threading.Event()
        try:
            if self.files.refresh():
                await asyncio.to_thread(self.files.ended.wait, _FIRST_WAIT_S)
            last, listed = None, False
            while True:
                if symbolic and not listed and self.files.ended.is_set():
                    listed = True
                    self.symbols.refresh()
                ended = all(reader.ended.is_set() for reader in readers)
                start = time.perf_counter()
                found = await asyncio.to_thread(self._find, query, symbolic, stop)
                if found != last:
                    offer(found)
                if ended:
                    return
                last = found
                taken = time.perf_counter() - start
                await asyncio.sleep(max(_PERIOD_S, taken / _MAX_SHARE))
        finally:
            stop.set()

    def _find(self, query: str, symbolic: bool, stop: threading.Event) -> Matches:
        notes = [self.files.note]
        hits = self.files.names.find(query, _MAX_HITS, stopped=stop.is_set)
        if symbolic:
            notes.append(self.symbols.note)
            symbols = self.symbols.names.find(query, _SYMBOL_HITS, stopped=stop.is_set)
            hits[_FILES_FIRST:_FILES_FIRST] = [
                FuzzyMatch(symbol.about, symbol.name) for symbol in symbols
            ]
        return Matches(hits, " · ".join(filter(None, notes)))

    def close(self) -> None:
        """Stop reading and wait for the threads to end."""
        for reader in (self.files, self.symbols):
            reader.close()


class _NameReader:
    """Reads names in a thread, from processes that end with it."""

    what = ""

    def __init__(self, root: Path, cwd: Path | None = None) -> None:
        self.names = Names()
        self.note = ""
        """Why names may be missing; empty if none is."""
        self.complete = False
        """Whether the names were read to the end once."""
        self.ended = threading.Event()
        """Set while no thread reads."""
        self.ended.set()
        self._root = root
        self._below = os.path.relpath(cwd.resolve(), root.resolve()) if cwd else "."
        self._next_read = float("-inf")
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def refresh(self) -> bool:
        """Start reading if the names are old; returns whether it did."""
        if self._closed or not self.ended.is_set() or time.monotonic() < self._next_read:
            return False
        self.ended.clear()
        if not self.complete:
            self.note = f"reading {self.what}"
        self._thread = threading.Thread(target=self._run, name="laguna-names", daemon=True)
        self._thread.start()
        return True

    def close(self) -> None:
        """Stop reading."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        begun = time.monotonic()
        try:
            self._read()
        except OSError as error:
            self.note = f"some {self.what} could not be read: {error.strerror}"
        finally:
            now = time.monotonic()
            self._next_read = now + _FRESH_S * max(1.0, now - begun)
            self.ended.set()

    def _read(self) -> None:
        raise NotImplementedError

    def _shown(self, path: str) -> str:
        """A path of the repository as a person names it."""
        if self._below == ".":
            return path
        folder = "/" if path.endswith("/") else ""
        return os.path.relpath(path, self._below) + folder

    @contextlib.contextmanager
    def _running(self, process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        """Register a process for `close` to kill."""
        with process:
            self._process = process
            try:
                if self._closed:
                    process.kill()
                yield process
            except BaseException:
                process.kill()
                raise
            finally:
                self._process = None


class _FileNames(_NameReader):
    """The paths of files and folders."""

    what = "files"
    _git = True
    _digest = b""

    def _read(self) -> None:
        names, folders, digest = Names(), set[str](), hashlib.blake2b()
        listed: Iterable[bytes] = self._listed()
        if self.complete:
            # Mostly nothing has changed; a digest shows that without holding the interpreter lock.
            listed = list(listed)
            digest.update(b"".join(listed))
            if digest.digest() == self._digest:
                return
        else:
            self.names = names
        for paths in listed:
            plain = [path for path in os.fsdecode(paths).split("\0") if path and is_plain(path)]
            found = [*plain, *_new_folders(plain, folders)]
            names.add([FuzzyMatch(self._shown(path)) for path in found])
            if not self.complete:
                digest.update(paths)
                self.note = f"reading {self.what}: {len(names):,} so far"
            if self._closed:
                return
        full = len(names) - len(folders) >= MAX_WALKED and not self._git
        self.note = f"only the first {MAX_WALKED:,} files" if full else ""
        self.names, self._digest, self.complete = names, digest.digest(), True

    def _listed(self) -> Iterator[bytes]:
        """Batches of NUL-separated paths: first the tracked ones, which git knows at once, then the
        untracked ones."""
        self._git = True
        for options in (["--cached"], ["--others", "--exclude-standard"]):
            try:
                process = git_process(self._root, "ls-files", "-z", *options)
            except GitError:
                self._git = False
                break
            rest = b""
            with self._running(process):
                assert process.stdout is not None
                while data := process.stdout.read(_READ_BYTES):
                    paths, _, rest = (rest + data).rpartition(b"\0")
                    yield paths
            if process.returncode:
                self._git = False
                break
        if not self._git and not self._closed:
            yield from self._walked()

    def _walked(self) -> Iterator[bytes]:
        from laguna_agent.tools.files.walk import walk

        entries = walk(self._root, limit=MAX_WALKED)
        while batch := [entry.relative for entry in itertools.islice(entries, _WALK_BATCH)]:
            yield os.fsencode("\0".join(batch))


def _new_folders(paths: list[str], known: set[str]) -> list[str]:
    """The folders of the paths that are not in `known`, which they are added to."""
    new: list[str] = []
    for path in paths:
        folder = os.path.dirname(path)
        while folder and folder not in known:
            known.add(folder)
            new.append(folder + "/")
            folder = os.path.dirname(folder)
    return sorted(new)


class _SymbolNames(_NameReader):
    """The names that the files define, those of the file changed last first."""

    what = "symbols"

    def __init__(self, root: Path, files: _FileNames, cwd: Path | None = None) -> None:
        super().__init__(root, cwd)
        self._files = files
        self._since = 0.0
        """Files changed after this time are read again."""

    def _read(self) -> None:
        begun = time.time()
        changed: set[str] = set()
        added: list[FuzzyMatch] = []
        with self._running(self._start()) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as stream:
                for text in self._files.names.texts():
                    stream.write(os.fsencode(self._from_root(text)))
            for line in process.stdout:
                batch: Batch = json.loads(line)
                hits = [FuzzyMatch(*found) for found in batch["found"] if is_plain("".join(found))]
                hits = [hit._replace(about=self._shown(hit.about)) for hit in hits]
                if self.complete:
                    changed.update(map(self._shown, batch["paths"]))
                    added += hits
                else:
                    self.names.add(hits)
                    self.note = _progress(batch)
        if self._closed:
            return
        if process.returncode:
            self.note = "some symbols could not be read"
            return
        if changed:
            self.names = self.names.changed(
                added, lambda hit: hit.about.rpartition(":")[0] in changed
            )
        self.complete, self._since = True, begun - 2.0  # the file system's clock may differ

    def _from_root(self, names: str) -> str:
        """Paths as the person names them, relative to the repository's root again."""
        if self._below == ".":
            return names
        return "\n".join(
            os.path.normpath(os.path.join(self._below, name)) if name else ""
            for name in names.split("\n")
        )

    def _start(self) -> subprocess.Popen[bytes]:
        from laguna_agent.paths import repository_state_dir

        arguments = [str(self._root), str(repository_state_dir(self._root)), str(self._since)]
        return subprocess.Popen(
            python_command("laguna_agent.tools.code.definitions", *arguments),
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )


def _progress(batch: Batch) -> str:
    if batch["done"] < batch["total"]:
        return f"reading symbols: {batch['done']:,} of {batch['total']:,} files"
    if not batch["left_out"]:
        return ""
    total = batch["total"]
    return f"symbols of the {total:,} files changed last" if total != 1 else "symbols of 1 file"
