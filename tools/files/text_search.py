"""Searches text by ripgrep, or by `text_scan` without it, bounded in time and size."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from laguna_agent.programs import find_program, python_command
from laguna_agent.tools.files.encoding import is_binary
from laguna_agent.tools.files.text_scan import FILE_LIMIT, ScanJob
from laguna_agent.tools.files.workspace import PathError, WorkspacePath, file_status, open_file
from laguna_agent.tools.tool import ToolContext

TIME_LIMIT = 20.0
"""Seconds after which a search is stopped; its hits so far count."""
_MAX_HITS = 5_000
_MAX_BYTES = 16 << 20
_RIPGREP_LINE = re.compile(rb"([^\0]*)\0(\d+):(\d+):([^\n]*)\n")


@dataclass(frozen=True)
class SearchHit:
    """A matching line; `line` and `column` are 1-based."""

    path: str
    line: int
    column: int
    text: str


@dataclass
class Query:
    """What to search for, and where."""

    pattern: str
    target: WorkspacePath
    literal: bool = False
    ignore_case: bool = False
    globs: Sequence[str] = ()


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
    if program is not None:
        result = await _ripgrep(program, query, context, is_directory)
        if not result.error:
            return result
    return await _scan(query)


def _check_text(target: WorkspacePath) -> None:
    with os.fdopen(open_file(target), "rb") as stream:
        if is_binary(stream.read(1 << 16)):
            raise PathError(f"{target.label} is a binary file; it was not searched.")


async def _ripgrep(
    program: str, query: Query, context: ToolContext, is_directory: bool
) -> SearchResult:
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
    # Not --glob, which includes ignored files. Types do not, but match only the name.
    if query.globs and not any("/" in glob for glob in query.globs):
        argv += [f"--type-add=wanted:{glob}" for glob in query.globs] + ["--type=wanted"]
    if query.literal:
        argv.append("--fixed-strings")
    argv += ["-e", query.pattern, "--", "." if is_directory else "-"]
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
    start = query.target.path if is_directory else Path("/")
    sandbox = context.sandbox
    if is_directory and sandbox is not None and sandbox.name != "none":
        # In the sandbox, a link put into the tree while ripgrep walks it leads nowhere.
        argv, environment = sandbox.wrap(argv, cwd=start), sandbox.environment()
    source = asyncio.subprocess.DEVNULL if is_directory else open_file(query.target)
    prefix = "" if query.target.relative == "." else query.target.relative + "/"
    try:
        result = SearchResult()
        hits = _ripgrep_hits(prefix if is_directory else None, query.target.relative)
        await _collect(argv, start, environment, source, hits, result)
    finally:
        if not is_directory:
            os.close(source)
    return result


_Parse = Callable[[bytes], tuple[list[SearchHit], bytes]]


def _ripgrep_hits(prefix: str | None, single: str) -> _Parse:
    def parse(data: bytes) -> tuple[list[SearchHit], bytes]:
        hits, end = [], 0
        for match in _RIPGREP_LINE.finditer(data):
            end = match.end()
            raw, line, column, text = match.groups()
            name = os.fsdecode(raw.removeprefix(b"./"))
            path = single if prefix is None else prefix + name
            if not path.startswith(".git/") and "/.git/" not in path:
                shown = _text(text.rstrip(b"\r"))
                hits.append(SearchHit(path, int(line), _column(text, int(column)), shown))
        return hits, data[end:]

    return parse


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end >= len(data) - 3 or " [... " in data[-40:].decode("latin-1"):
            return data.decode("utf-8", "replace")  # cut inside a character
        return data.decode("latin-1")


def _column(text: bytes, byte_column: int) -> int:
    return len(_text(text[: byte_column - 1])) + 1


async def _scan(query: Query) -> SearchResult:
    job = ScanJob(
        root=str(query.target.root),
        start=query.target.relative,
        pattern=query.pattern,
        literal=query.literal,
        ignore_case=query.ignore_case,
        limit=_MAX_HITS,
    )
    argv = python_command("laguna_agent.tools.files.text_scan")
    reader, writer = os.pipe()
    result = SearchResult()
    try:
        feeding = asyncio.create_task(asyncio.to_thread(_feed, writer, json.dumps(job).encode()))
        await _collect(argv, Path("/"), {"PATH": os.defpath}, reader, _scan_hits, result)
        await feeding
    finally:
        os.close(reader)
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
    result: SearchResult,
) -> None:
    """Run a search process and collect its hits until it ends or reaches a limit."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=source,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in the pattern
        result.error = str(error)
        return
    assert process.stdout is not None
    assert process.stderr is not None
    stderr = asyncio.create_task(process.stderr.read(4_000))
    try:
        async with asyncio.timeout(TIME_LIMIT):
            rest, total = b"", 0
            async for chunk in _chunks(process.stdout):
                total += len(chunk)
                hits, rest = parse(rest + chunk)
                result.hits += hits
                if len(result.hits) >= _MAX_HITS or total > _MAX_BYTES:
                    result.partial = "there are more matches"
                    break
            else:
                await process.wait()
    except TimeoutError:
        result.partial = f"the search was stopped after {TIME_LIMIT:.0f} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        message = (await stderr).decode("utf-8", "replace").strip()
    if process.returncode not in (0, 1) and not result.partial:
        result.error = message or f"exit status {process.returncode}"


async def _chunks(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await stream.read(1 << 16):
        yield chunk
