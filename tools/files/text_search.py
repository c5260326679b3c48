"""Searches text by ripgrep, or by `text_scan` without it, bounded in time and size."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from laguna_agent.programs import find_program, python_command
from laguna_agent.tools.files.encoding import is_binary
from laguna_agent.tools.files.file_names import Globs
from laguna_agent.tools.files.legacy_encodings import LEGACY
from laguna_agent.tools.files.text_scan import FILE_LIMIT, ScanJob, SearchHit, spans_lines
from laguna_agent.tools.files.workspace import PathError, WorkspacePath, file_status, open_file
from laguna_agent.tools.tool import ToolContext

TIME_LIMIT = 20.0
"""Seconds after which a search is stopped; its hits so far count."""
_MAX_HITS = 5_000
_MAX_BYTES = 16 << 20
_MAX_AGAIN = 40
"""Files with long lines, or with text that is not Unicode, that are looked at again."""
_END_LIMIT = 1.0
_MESSAGE = 4_000
_PIPE = 1 << 15
_CUT = re.compile(r" \[\.\.\. .{1,40}\]$")
"""How ripgrep ends a line that it cut."""
_NEWLINE = re.compile(r"(?<!\\)((?:\\\\)*)(?:\\n|\n)")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_CLASS_WITH_NEWLINE = re.compile(r"\[[^\]]*\\n")
_RIPGREP_LINE = re.compile(rb"(\d+):(\d+):(.*)", re.DOTALL)
_SKIPPED = ".git\n.nfs0*\n"
"""Not searched: git's own files, and what NFS keeps of removed files that are still open."""
_NAME_LINES = 10


@dataclass
class Query:
    """What to search for, and where."""

    pattern: str
    target: WorkspacePath
    literal: bool = False
    ignore_case: bool = False
    globs: Sequence[str] = ()
    deadline: float = field(default_factory=lambda: time.monotonic() + TIME_LIMIT)


@dataclass
class SearchResult:
    """The hits. `partial` says why the search stopped early, `error` why it failed."""

    hits: list[SearchHit] = field(default_factory=list)
    partial: str = ""
    error: str = ""


async def search(query: Query, context: ToolContext) -> SearchResult:
    """Search by ripgrep, or by Python for expressions that ripgrep does not support."""
    info = file_status(query.target)
    if info is None:
        raise PathError(f"{query.target.label} does not exist.")
    is_directory = stat.S_ISDIR(info.st_mode)
    if not is_directory:
        _check_text(query.target)
    program = find_program("rg")
    if program is None:
        return await _scan(query)
    if spans_lines(query.pattern, literal=query.literal):
        if not is_directory:
            return await _scan(query)
        names = await _ripgrep(program, query, context, is_directory, names_only=True)
        if not query.pattern.isascii():
            names.hits += (
                await _ripgrep(program, query, context, is_directory, names_only=True, legacy=True)
            ).hits
        paths = sorted({hit.path for hit in names.hits})
        return await _scan(query, paths or None) if paths or names.error else names
    result = await _ripgrep(program, query, context, is_directory)
    if result.error:
        return await _scan(query)
    again = {(hit.path, hit.line) for hit in result.hits if _needs_scan(hit)}
    if not query.pattern.isascii():
        encoded = await _ripgrep(program, query, context, is_directory, legacy=True)
        again |= {(hit.path, hit.line) for hit in encoded.hits}
    return await _scan_again(query, result, again) if again else result


def _needs_scan(hit: SearchHit) -> bool:
    """Whether ripgrep gave only the head of a long line, or one that is not Unicode."""
    return _CUT.search(hit.text) is not None or _has_surrogates(hit.text)


async def _scan_again(
    query: Query, result: SearchResult, again: set[tuple[str, int]]
) -> SearchResult:
    """The result with these lines as `text_scan` shows them: decoded, around each match."""
    scanned = await _scan(query, sorted({path for path, _ in again})[:_MAX_AGAIN])
    found = [hit for hit in scanned.hits if (hit.path, hit.line) in again]
    replaced = {(hit.path, hit.line) for hit in found}
    kept = [hit for hit in result.hits if (hit.path, hit.line) not in replaced]
    result.hits = [*(hit._replace(text=_as_latin_1(hit.text)) for hit in kept), *found]
    return result


def _check_text(target: WorkspacePath) -> None:
    with os.fdopen(open_file(target), "rb") as stream:
        if is_binary(stream.read(1 << 16)):
            raise PathError(f"{target.label} is a binary file; it was not searched.")


async def _ripgrep(
    program: str,
    query: Query,
    context: ToolContext,
    is_directory: bool,
    *,
    names_only: bool = False,
    legacy: bool = False,
) -> SearchResult:
    """With `names_only` a hit for each file with a match, for a pattern that spans lines; with
    `legacy` matches of the pattern in encodings other than Unicode."""
    argv = [
        program,
        "--no-config",
        "--no-follow",
        "--no-pre",
        "--no-search-zip",
        "--no-mmap",
        "--no-messages",
        "--no-heading",
        "--color=never",
        "--null",
        "--with-filename",
        "--line-number",
        "--column",
        "--crlf",
        "--hidden",
        "--no-require-git",
        "--max-columns=500",
        "--max-columns-preview",
        f"--max-filesize={FILE_LIMIT}",
        "--ignore-case" if query.ignore_case else "--case-sensitive",
    ]
    globs = Globs(query.globs, root=str(query.target.root), folder=query.target.relative)
    if is_directory:  # not --glob, which includes ignored files
        argv.append("--ignore-file=/dev/stdin")
    if names_only:
        argv += ["--multiline", "--files-with-matches"]
    pattern = query.pattern
    if query.literal:
        pattern = _SPECIAL.sub(r"\\\g<0>", pattern)
    if names_only and not _CLASS_WITH_NEWLINE.search(pattern):
        pattern = _NEWLINE.sub(r"\1(?:\\r?\\n)", pattern)
    if legacy:
        pattern = _in_legacy_encodings(pattern)
        argv.append("--encoding=none")
    start = f"./{query.target.relative}" if is_directory else "-"
    argv += ["-e", pattern, "--", start]
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
    root = query.target.root if is_directory else Path("/")
    sandbox = context.sandbox
    if is_directory and sandbox is not None and sandbox.name != "none":
        # In the sandbox, a link put into the tree while ripgrep walks it leads nowhere.
        argv, environment = sandbox.wrap(argv, cwd=root), sandbox.environment()
    source = _pipe(globs.ignore_file() + _SKIPPED) if is_directory else open_file(query.target)
    try:
        parse = _ripgrep_hits(None if is_directory else query.target.relative, names_only)
        result = await _collect(argv, root, environment, source, parse, query.deadline)
    finally:
        os.close(source)
    if globs and is_directory:  # a `!name` in an ignore file of the workspace overrules this one
        result.hits = [hit for hit in result.hits if globs.match(hit.path)]
    return result


def _pipe(text: str) -> int:
    """A descriptor to read a short text from."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write(text.encode("utf-8", "replace")[:_PIPE])
    return reader


_Parse = Callable[[bytes], tuple[list[SearchHit], bytes]]


def _ripgrep_hits(single: str | None, names_only: bool) -> _Parse:
    def located(name: bytes, line: int, column: int, text: bytes) -> SearchHit:
        path = single or os.fsdecode(os.path.normpath(name))
        return SearchHit(path, line, _column(text, column), _text(text.rstrip(b"\r")))

    def parse_names(data: bytes) -> tuple[list[SearchHit], bytes]:
        *names, rest = data.split(b"\0")
        return [located(name, 1, 1, b"") for name in names], rest

    def parse(data: bytes) -> tuple[list[SearchHit], bytes]:
        *lines, rest = data.split(b"\n")
        hits: list[SearchHit] = []
        names: list[bytes] = []  # the lines of a name that holds newlines
        for line in lines:
            name, found, text = line.partition(b"\0")
            names = [*names, name] if len(names) < _NAME_LINES else [name]
            if match := _RIPGREP_LINE.match(text):
                hits.append(located(b"\n".join(names), int(match[1]), int(match[2]), match[3]))
            if found:
                names = []
        return hits, b"\n".join([*names, rest])

    return parse_names if names_only else parse


def _in_legacy_encodings(pattern: str) -> str:
    """An expression for the pattern's bytes in each encoding that has its characters."""
    found = []
    for encoding in LEGACY:
        with contextlib.suppress(UnicodeError):
            found.append(_NOT_ASCII.sub(partial(_bytes_of, encoding), pattern))
    return "|".join(found) or r"[^\s\S]"


def _bytes_of(encoding: str, match: re.Match[str]) -> str:
    return "(?-u:" + "".join(f"\\x{byte:02x}" for byte in match[0].encode(encoding)) + ")"


def _text(data: bytes) -> str:
    """Text of a line; bytes that are not UTF-8 become surrogates."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        cut = b" [... " in data[-40:]  # perhaps inside a character
        return data.decode("utf-8", "replace" if cut else "surrogateescape")


def _as_latin_1(text: str) -> str:
    if not _has_surrogates(text):
        return text
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _has_surrogates(text: str) -> bool:
    return _SURROGATES.search(text) is not None


def _column(text: bytes, byte_column: int) -> int:
    return len(_text(text[: byte_column - 1])) + 1


async def _scan(query: Query, paths: list[str] | None = None) -> SearchResult:
    job = ScanJob(
        root=str(query.target.root),
        start=query.target.relative,
        paths=paths,
        globs=list(query.globs),
        pattern=query.pattern,
        literal=query.literal,
        ignore_case=query.ignore_case,
        limit=_MAX_HITS,
    )
    argv = python_command("laguna_agent.tools.files.text_scan")
    reader, writer = os.pipe()
    try:
        feeding = asyncio.create_task(asyncio.to_thread(_feed, writer, json.dumps(job).encode()))
        environment = {"PATH": os.defpath}
        result = await _collect(argv, Path("/"), environment, reader, _scan_hits, query.deadline)
    finally:
        os.close(reader)
    await feeding
    if result.hits and not result.hits[-1].path:
        result.partial = result.hits.pop().text
    return result


def _feed(writer: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "wb") as stream:
        stream.write(data)


def _scan_hits(data: bytes) -> tuple[list[SearchHit], bytes]:
    *lines, rest = data.split(b"\n")
    return [SearchHit(*json.loads(line)) for line in lines if line], rest


async def _collect(
    argv: Sequence[str],
    cwd: Path,
    environment: dict[str, str],
    source: int,
    parse: _Parse,
    deadline: float,
) -> SearchResult:
    """Run a search process and collect its hits until it ends or reaches a limit.

    Neither its output nor its end is awaited beyond the deadline: it may hang in a file system.
    """
    result = SearchResult()
    try:
        process = _start(argv, cwd, environment, source)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the pattern
        result.error = str(error)
        return result
    try:
        message = await asyncio.to_thread(_read, process, parse, deadline, result)
    finally:  # a reader that is cancelled reads on to the end, which comes by this
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        await asyncio.to_thread(process.wait, _END_LIMIT)
    # Files that it may not read make ripgrep fail too, without a message.
    if process.returncode not in (0, 1) and not result.partial and message:
        result.error = message
    return result


def _start(
    argv: Sequence[str], cwd: Path, environment: dict[str, str], source: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment,
        start_new_session=True,
    )


def _read(
    process: subprocess.Popen[bytes], parse: _Parse, deadline: float, result: SearchResult
) -> str:
    """Read hits until a limit; returns what the process wrote to standard error."""
    assert process.stdout is not None
    assert process.stderr is not None
    rest, total, message = b"", 0, b""
    with process.stdout, process.stderr, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map() and not result.partial:
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                result.partial = f"the search was stopped after {TIME_LIMIT:.0f} s"
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    message = (message + chunk)[:_MESSAGE]
                else:
                    total += len(chunk)
                    hits, rest = parse(rest + chunk)
                    result.hits += hits
                    if len(result.hits) >= _MAX_HITS or total > _MAX_BYTES:
                        result.partial = "there are more matches"
    return message.decode("utf-8", "replace").strip()
