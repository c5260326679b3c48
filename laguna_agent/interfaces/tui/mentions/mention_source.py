"""What `@` can name: the files of the repository (ignored ones left out) and what they define.

Both are read beside the interface and can be searched from the first names on. Files come from git
in a thread; definitions, once they are asked for, from a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laguna_agent.interfaces.tui.mentions.fuzzy import Hit, Names
from laguna_agent.policy.sanitize import is_plain
from laguna_agent.tools.repository.git_command import GitError, git_process

if TYPE_CHECKING:
    from laguna_agent.tools.code.definitions import Batch

MOST_WALKED = 200_000
"""Files that are read where there is no git repository."""
_FRESH_S = 20.0
"""Seconds for which a listing is not read again; so many for each second that it took."""
_AT_ONCE_S = 0.05
"""Seconds that the first search waits for a small repository to be read whole."""
_PERIOD_S, _SHARE = 0.1, 0.25
"""Seconds between two searches while more is read, and the share of time that they may take."""
_MOST, _SYMBOLS, _ABOVE = 24, 3, 5
"""Choices of a list; how many of them are symbols, and after how many files they come."""
_CHUNK = 1 << 16
_WALKED = 1_000


@dataclass(frozen=True)
class Found:
    """The best matches, and what to say of those that may be missing."""

    hits: list[Hit]
    note: str = ""


class MentionSource:
    """The names of one repository. What was read stays, and is read anew now and then."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = _Files(root)
        self.symbols = _Symbols(root, self.files)

    async def search(self, query: str, offer: Callable[[Found], None]) -> None:
        """Offer the best matches, and again whenever there are better ones, until all is read."""
        symbolic = len(query) >= 2 and "/" not in query and "." not in query
        parts = [self.files, self.symbols] if symbolic else [self.files]
        stop = threading.Event()
        try:
            if self.files.refresh():
                await asyncio.to_thread(self.files.ended.wait, _AT_ONCE_S)
            last, listed = None, False
            while True:
                if symbolic and not listed and self.files.ended.is_set():
                    listed = True
                    self.symbols.refresh()
                ended = all(part.ended.is_set() for part in parts)
                begin = time.perf_counter()
                found = await asyncio.to_thread(self._find, query, symbolic, stop)
                if found != last:
                    offer(found)
                if ended:
                    return
                last = found
                taken = time.perf_counter() - begin
                await asyncio.sleep(max(_PERIOD_S, taken / _SHARE))
        finally:
            stop.set()

    def _find(self, query: str, symbolic: bool, stop: threading.Event) -> Found:
        notes = [self.files.note]
        hits = self.files.names.find(query, _MOST, stopped=stop.is_set)
        if symbolic:
            notes.append(self.symbols.note)
            symbols = self.symbols.names.find(query, _SYMBOLS, stopped=stop.is_set)
            hits[_ABOVE:_ABOVE] = [Hit(symbol.about, symbol.name) for symbol in symbols]
        return Found(hits, " · ".join(filter(None, notes)))

    def close(self) -> None:
        """Read no more. Blocks until nothing runs."""
        for part in (self.files, self.symbols):
            part.close()


class _Reader:
    """Names that a thread reads, with the help of processes that end with it."""

    what = ""

    def __init__(self, root: Path) -> None:
        self.names = Names()
        self.note = ""
        """What may be missing among the names."""
        self.complete = False
        """Whether they were read to the end once."""
        self.ended = threading.Event()
        """Set while nothing is being read."""
        self.ended.set()
        self._root = root
        self._due = float("-inf")
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def refresh(self) -> bool:
        """Begin to read, if that is due; whether it was."""
        if self._closed or not self.ended.is_set() or time.monotonic() < self._due:
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
            self.note = f"not all could be read: {error.strerror}"
        finally:
            now = time.monotonic()
            self._due = now + _FRESH_S * max(1.0, now - begun)
            self.ended.set()

    def _read(self) -> None:
        raise NotImplementedError

    @contextlib.contextmanager
    def _running(self, process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        """Keep a process where `close` finds it."""
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


class _Files(_Reader):
    """Files and folders, by their paths."""

    what = "files"
    _git = True
    _digest = b""

    def _read(self) -> None:
        names, folders, digest = Names(), set[str](), hashlib.blake2b()
        listed: Iterable[bytes] = self._listed()
        if self.complete:
            # Mostly nothing has changed; this finds out without holding the interpreter.
            listed = list(listed)
            digest.update(b"".join(listed))
            if digest.digest() == self._digest:
                return
        else:
            self.names = names
        for paths in listed:
            plain = [path for path in os.fsdecode(paths).split("\0") if path and is_plain(path)]
            names.add([Hit(path) for path in [*plain, *_new_folders(plain, folders)]])
            if not self.complete:
                digest.update(paths)
                self.note = f"reading {self.what}: {len(names):,} so far"
            if self._closed:
                return
        full = len(names) - len(folders) >= MOST_WALKED and not self._git
        self.note = f"only the first {MOST_WALKED:,} files" if full else ""
        self.names, self._digest, self.complete = names, digest.digest(), True

    def _listed(self) -> Iterator[bytes]:
        """Paths, some at a time, with a NUL between two: those that git knows come at once, then
        those that are new."""
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
                while data := process.stdout.read(_CHUNK):
                    paths, _, rest = (rest + data).rpartition(b"\0")
                    yield paths
            if process.returncode:
                self._git = False
                break
        if not self._git and not self._closed:
            yield from self._walked()

    def _walked(self) -> Iterator[bytes]:
        from laguna_agent.tools.files.walk import walk

        entries = walk(self._root, limit=MOST_WALKED)
        while some := [entry.relative for entry in itertools.islice(entries, _WALKED)]:
            yield os.fsencode("\0".join(some))


def _new_folders(paths: list[str], known: set[str]) -> list[str]:
    """The folders that the paths are in and that were not known yet."""
    new: list[str] = []
    for path in paths:
        folder = os.path.dirname(path)
        while folder and folder not in known:
            known.add(folder)
            new.append(folder + "/")
            folder = os.path.dirname(folder)
    return sorted(new)


class _Symbols(_Reader):
    """What the files define, by name; the file changed last first."""

    what = "symbols"

    def __init__(self, root: Path, files: _Files) -> None:
        super().__init__(root)
        self._files = files
        self._since = 0.0
        """Changes before this time are known."""

    def _read(self) -> None:
        begun = time.time()
        changed: set[str] = set()
        added: list[Hit] = []
        with self._running(self._start()) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as stream:
                for text in self._files.names.texts():
                    stream.write(os.fsencode(text))
            for line in process.stdout:
                batch: Batch = json.loads(line)
                hits = [Hit(*found) for found in batch["found"] if is_plain("".join(found))]
                if self.complete:
                    changed.update(batch["paths"])
                    added += hits
                else:
                    self.names.add(hits)
                    self.note = _progress(batch)
        if self._closed:
            return
        if process.returncode:
            self.note = "not all symbols could be read"
            return
        if changed:
            self.names = self.names.changed(
                added, lambda hit: hit.about.rpartition(":")[0] in changed
            )
        self.complete, self._since = True, begun - 2.0  # the file system's clock may be another

    def _start(self) -> subprocess.Popen[bytes]:
        from laguna_agent.paths import repository_state_dir

        arguments = [str(self._root), str(repository_state_dir(self._root)), str(self._since)]
        return subprocess.Popen(
            # -I: nothing is imported from the working directory, which may be anybody's repository.
            [sys.executable, "-I", "-m", "laguna_agent.tools.code.definitions", *arguments],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )


def _progress(batch: Batch) -> str:
    if batch["done"] < batch["total"]:
        return f"reading symbols: {batch['done']:,} of {batch['total']:,} files"
    return f"symbols of the {batch['total']:,} files changed last" if batch["left_out"] else ""
