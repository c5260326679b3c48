"""The search tool: finds text in files, best matches first, and files by name."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import re
import time
import unicodedata
from collections import defaultdict
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from laguna_agent.actions import Action, ReadPath
from laguna_agent.clip import clip_line
from laguna_agent.tools.code.repository_map import TEST_PATH
from laguna_agent.tools.files import decided, storage
from laguna_agent.tools.files.encoding import decode, printable, printable_name
from laguna_agent.tools.files.file_names import Globs, composed, expand_globs, match_names
from laguna_agent.tools.files.text_scan import FILE_LIMIT, TEXT_LIMIT, SearchHit, compiled
from laguna_agent.tools.files.text_search import TIME_LIMIT, Query, SearchResult, search
from laguna_agent.tools.files.walk import FileEntry, walk
from laguna_agent.tools.files.workspace import PathError, WorkspacePath, read_bytes, resolve_path
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult

_DEFINES = re.compile(
    r"(?:^|[\s(])(?:def|class|function\*?|func(?:\s*\([^)]*\))?|fn|interface|struct|enum|type|trait|"
    r"impl|module|namespace|const|let|var|val|macro_rules!|#\s*define|record|object|static|union)"
    r"\s+[*&]*$"
)
_ASSIGNED = re.compile(r"\s*(?::[^=\n]*)?=(?!=)")
_LINE = 200
_MAX_NAMES = 60
_MORE_NAMES = 20
_MAX_WALKED = 100_000


class SearchArguments(ToolArguments):
    """What to search for, and where."""

    pattern: str = Field(min_length=1)
    path: str = "."
    glob: str = ""
    mode: Literal["regex", "literal", "count", "files"] = "regex"
    context: int = Field(0, ge=0, le=50)


class SearchTool:
    """Finds text or files."""

    name: ClassVar[str] = "search"
    kind: ClassVar[ToolKind] = "read"
    description: ClassVar[str] = "Find lines that match pattern, or files by name."
    arguments: ClassVar[type[ToolArguments]] = SearchArguments
    example: ClassVar[dict[str, Any]] = {"pattern": "def main", "glob": "*.py", "mode": "regex"}

    def title(self, arguments: SearchArguments, context: ToolContext) -> str:
        """`Search "x" in src`."""
        where = "" if arguments.path in (".", "") else f" in {arguments.path}"
        what = "Find files" if arguments.mode == "files" else "Search"
        return printable_name(f"{what} {arguments.pattern!r}{where}")

    def actions(self, arguments: SearchArguments, context: ToolContext) -> list[Action]:
        """Reading the file or directory that is searched."""
        try:
            target = resolve_path(context, arguments.path, guess=True)
        except PathError:
            decided.record(context, arguments, None)
            return []
        decided.record(context, arguments, str(target.path))
        return [] if target.saved else [ReadPath(path=str(target.path))]

    async def run(self, arguments: SearchArguments, context: ToolContext) -> ToolResult:
        """Search."""
        await asyncio.to_thread(storage.recover, context)
        try:
            target = await asyncio.to_thread(resolve_path, context, arguments.path, guess=True)
            decided.check(context, arguments, str(target.path))
            if arguments.mode == "files":
                return await asyncio.to_thread(_find_files, arguments, target, context)
            result, notes = await _find_text(arguments, target, context)
        except PathError as error:
            return ToolResult(ok=False, content=str(error))
        return await asyncio.to_thread(_render, arguments, target, context, result, notes)


# --- text -----------------------------------------------------------------------------------


async def _find_text(
    arguments: SearchArguments, target: WorkspacePath, context: ToolContext
) -> tuple[SearchResult, list[str]]:
    """The hits, or those of a wider search if there are none, with a note that says so."""
    notes = [target.note] if target.note else []
    globs = expand_globs(arguments.glob)
    pattern = re.sub(r"\(\?<(?![=!])", "(?P<", arguments.pattern)  # as of JavaScript
    if arguments.mode == "literal":
        pattern = arguments.pattern
    query = Query(pattern, target, literal=arguments.mode == "literal", globs=globs)
    if not query.literal:
        try:
            compiled(query.pattern, literal=False, ignore_case=False)
        except re.error as error:  # ripgrep has other expressions, such as `\p{Lu}`
            if (await search(query, context)).error:
                notes.append(
                    f"The pattern is not a regular expression ({error}); searched as plain text."
                )
                query.literal = True
    tries = [query, replace(query, ignore_case=True)]
    if not query.literal and re.escape(query.pattern) != query.pattern:
        tries.append(replace(query, literal=True))
        if basic := _from_basic(query.pattern):
            tries.append(replace(query, pattern=basic))
    if bare := _unquoted(query.pattern):
        tries.append(replace(query, pattern=bare, ignore_case=True))
    forms = {unicodedata.normalize(form, query.pattern) for form in ("NFC", "NFD")}
    tries += [replace(query, pattern=form) for form in forms - {query.pattern}]
    result = SearchResult()
    for attempt in tries:
        result = await search(attempt, context)
        if result.error:
            notes.append(f"The search failed: {result.error.splitlines()[-1]}")
            break
        result.hits = _allowed(result.hits, target, context)
        if result.partial and not result.hits:
            break
        if result.hits:
            if attempt.ignore_case and attempt.pattern == query.pattern:
                notes.append("No match in this spelling; found ignoring case:")
            elif attempt.literal and not query.literal:
                notes.append("No match as a regular expression; found as plain text:")
            elif attempt.pattern != query.pattern and attempt.pattern in forms:
                notes.append("Found in another Unicode form (composed or decomposed characters):")
            elif attempt.pattern != query.pattern:
                notes.append(f"No match; found {attempt.pattern!r}:")
            break
    return result, notes


def _from_basic(pattern: str) -> str | None:
    """A basic expression, as plain grep takes them, in the usual notation; None if it is none."""
    if not re.search(r"\\[|(){}+?<>]", pattern):
        return None
    words = re.sub(r"\\[<>]", r"\\b", pattern)
    expression = re.sub(r"\\([|(){}+?])|([|(){}+?])", lambda m: m[1] or "\\" + m[2], words)
    with contextlib.suppress(re.error):
        compiled(expression, literal=False, ignore_case=False)
        return expression
    return None


def _unquoted(pattern: str) -> str | None:
    """The pattern without the quotes or slashes around it; None if there are none."""
    match = re.fullmatch(r"""(["'`])(.+)\1|/(.+)/[gimsu]*""", pattern)
    return (match[2] or match[3]) if match else None


def _allowed(hits: list[SearchHit], target: WorkspacePath, context: ToolContext) -> list[SearchHit]:
    verdicts: dict[str, bool] = {}
    for hit in hits:
        if hit.path not in verdicts:
            # A file that the call names was decided about by its name.
            verdicts[hit.path] = (
                target.saved
                or hit.path == target.relative
                or context.may_read(str(target.root / hit.path))
            )
    return [hit for hit in hits if verdicts[hit.path]]


def rank(hit: SearchHit, pattern: str) -> int:
    """Rank of a hit: 0 for a definition, 1 for a whole word, 2 for part of a word."""
    at = hit.column - hit.start
    before = hit.text[:at]
    length = len(pattern) if re.escape(pattern) == pattern else 0
    after = hit.text[at + length :] if length else ""
    first = hit.text[at : at + length + 1]
    if _DEFINES.search(before) or _DEFINES.search(first.split(pattern)[0] if length else ""):
        return 0
    if not before.strip() and (
        (length and _ASSIGNED.match(after) and before == "")
        or re.match(
            r"(?:async\s+)?(?:def|class|fn|func|function|struct|interface)\s", first + after
        )
    ):
        return 0
    boundary = not before[-1:].isidentifier() and not (after[:1] + "").isidentifier()
    return 1 if boundary else 2


def _render(
    arguments: SearchArguments,
    target: WorkspacePath,
    context: ToolContext,
    result: SearchResult,
    notes: list[str],
) -> ToolResult:
    pattern = arguments.pattern
    if not result.hits:
        where = "" if target.path == context.start else f" in {target.label}"
        some = f" in files like {arguments.glob}" if arguments.glob else ""
        partial = f" ({result.partial})" if result.partial else ""
        hint = ""
        if re.match(r"[*.]*[*][\w.*/]+$", pattern):
            hint = " It looks like a glob: files are found by name with mode=files."
        text = "\n".join([*notes, f"No match for {pattern!r}{where}{some}{partial}.{hint}"])
        return ToolResult(ok=not result.error, content=text, summary="no match")
    files: dict[str, list[SearchHit]] = defaultdict(list)
    for hit in result.hits:
        files[hit.path].append(hit)
    ranks = {hit: rank(hit, pattern) for hit in result.hits}

    def order(path: str) -> tuple[int, bool, int, int, str]:
        best = min(ranks[hit] for hit in files[path])
        return best, bool(TEST_PATH.search(path)), path.count("/"), len(path), path

    paths = sorted(files, key=order)
    plural = "es" if len(result.hits) != 1 else ""
    many = "s" if len(paths) != 1 else ""
    total = f"{len(result.hits)}{'+' if result.partial else ''} match{plural}"
    header = f"{total} in {len(paths)} file{many}"
    if result.partial:
        notes.append(f"[{result.partial}]")
    if arguments.mode == "count":
        body, shown = _counts(context, paths, files), len(paths)
    else:
        body, shown = _lines(arguments, target, context, paths, files, ranks)
    rest = paths[shown:]
    if rest:
        more = {printable_name(context.shown(p)): len(files[p]) for p in rest[:_MORE_NAMES]}
        names = ", ".join(f"{name} ({count})" for name, count in more.items())
        left = len(rest) - _MORE_NAMES
        body.append(f"Also in: {names}" + (f" and {left} more files" if left > 0 else ""))
    content = "\n".join([*notes, header, *body])
    return ToolResult(
        ok=True,
        content=content,
        summary=header,
        truncated=bool(rest or result.partial),
    )


def _counts(context: ToolContext, paths: list[str], files: dict[str, list[SearchHit]]) -> list[str]:
    return [f"{printable_name(context.shown(path))}: {len(files[path])}" for path in paths[:200]]


def _lines(
    arguments: SearchArguments,
    target: WorkspacePath,
    context: ToolContext,
    paths: list[str],
    files: dict[str, list[SearchHit]],
    ranks: dict[SearchHit, int],
) -> tuple[list[str], int]:
    """The matching lines of as many files as fit, and the number of files."""
    room = int(context.max_output_chars * 0.8)
    share = 30 if len(paths) <= 3 else 10 if len(paths) <= 12 else 4
    body: list[str] = []
    for index, path in enumerate(paths):
        hits = files[path]
        best = sorted(hits, key=lambda hit: (ranks[hit], hit.line, hit.column))[:share]
        chosen = sorted(best, key=lambda hit: (hit.line, hit.column))
        label = target.label if target.saved else printable_name(context.shown(path))
        block = [f"{label}:"]
        if arguments.context:
            block += _with_context(target, path, chosen, arguments.context)
        else:
            block += [_shown(hit) for hit in chosen]
        if len(hits) > len(chosen):
            block.append(f"… {len(hits) - len(chosen)} more in this file")
        size = sum(len(line) + 1 for line in block)
        if size > room and index:
            return body, index
        body += block
        room -= size
        if room <= 0:
            return body[:], index + 1
    return body, len(paths)


def _shown(hit: SearchHit) -> str:
    """The lines of a match, each with its number; of a long line the text around the match."""
    lines = printable(hit.text).rstrip().split("\n")
    first = lines[0]
    where = f"{hit.line}"
    if hit.start > 1 or len(first) > _LINE:
        start = max(0, min(hit.column - hit.start - 60, len(first) - _LINE))
        cut = first[start : start + _LINE]
        left, right = (
            hit.start + start > 1,
            len(first) > start + _LINE or len(hit.text) >= TEXT_LIMIT,
        )
        first = ("…" if left else "") + cut + ("…" if right else "")
        where += f" (column {hit.column})" if hit.column > _LINE else ""
    shown = [f"{where}: {first}"]
    shown += [f"{hit.line + n}: {clip_line(line, _LINE)}" for n, line in enumerate(lines[1:], 1)]
    return "\n".join(shown)


def _with_context(target: WorkspacePath, path: str, hits: list[SearchHit], count: int) -> list[str]:
    try:
        document = decode(read_bytes(WorkspacePath(target.root, path, path), FILE_LIMIT))
    except PathError:
        document = None
    if document is None:
        return [_shown(hit) for hit in hits]
    lines = printable(document.text).split("\n")
    if lines[-1] == "":
        lines.pop()
    by_line: dict[int, list[SearchHit]] = defaultdict(list)
    for hit in hits:
        by_line[hit.line].append(hit)
    matching = {hit.line + n for hit in hits for n in range(hit.text.count("\n") + 1)}
    wanted = sorted(
        {n for m in matching for n in range(max(1, m - count), min(len(lines), m + count) + 1)}
    )
    shown: list[str] = []
    for position, number in enumerate(wanted):
        if position and number != wanted[position - 1] + 1:
            shown.append("--")
        line = lines[number - 1]
        if number in by_line and len(line) > _LINE:
            shown += [_shown(hit).split("\n")[0] for hit in by_line[number]]
        else:
            shown.append(f"{number}{':' if number in matching else '-'} {clip_line(line, _LINE)}")
    return shown


# --- file names -----------------------------------------------------------------------------


def _find_files(
    arguments: SearchArguments, target: WorkspacePath, context: ToolContext
) -> ToolResult:
    globs = Globs(expand_globs(arguments.glob), root=str(target.root), folder=target.relative)
    deadline = time.monotonic() + TIME_LIMIT
    entries: list[FileEntry] = []
    stopped = False
    for entry in walk(target.root, target.relative, limit=_MAX_WALKED + 1):
        if len(entries) == _MAX_WALKED or (entries and time.monotonic() > deadline):
            stopped = True
            break
        entries.append(entry)
    paths = [
        entry.relative
        for entry in entries
        if globs.match(entry.relative) and context.may_name(str(target.root / entry.relative))
    ]
    found = match_names(paths, arguments.pattern)
    notes = [target.note] if target.note else []
    if stopped:
        notes.append(_stopped(context, target, len(entries), entries[-1].relative))
    if not found:
        wanted = composed(arguments.pattern.rpartition("/")[2]).lower()
        names = {composed(path).rpartition("/")[2].lower(): path for path in paths}
        close = difflib.get_close_matches(wanted, names, n=5, cutoff=0.6)
        if not close:
            text = "\n".join([*notes, f"No file name matches {arguments.pattern!r}."])
            return ToolResult(ok=True, content=text, summary="no match")
        notes.append(f"No file name matches {arguments.pattern!r}; nearest:")
        found = [names[name] for name in close]
    shown = [printable_name(context.shown(path)) for path in found[:_MAX_NAMES]]
    if len(found) > _MAX_NAMES:
        shown.append(f"[… {len(found) - _MAX_NAMES} more; narrow it down]")
    header = f"{len(found)} file{'s' if len(found) != 1 else ''}"
    return ToolResult(
        ok=True,
        content="\n".join([*notes, *shown]),
        summary=header,
        truncated=len(found) > _MAX_NAMES,
    )


def _stopped(context: ToolContext, target: WorkspacePath, count: int, last: str) -> str:
    """Which of the files were not looked at, and where to look for them."""
    here = "" if target.relative == "." else target.relative + "/"
    reached = here + last.removeprefix(here).partition("/")[0]
    folders = {
        entry.relative
        for entry in walk(
            target.root, target.relative, limit=_MAX_WALKED, directories=True, max_depth=1
        )
        if entry.is_directory and entry.relative >= reached
    }
    names = [printable_name(context.shown(folder)) for folder in sorted(folders)]
    rest = ", ".join(names[:_MORE_NAMES]) + (", …" if len(names) > _MORE_NAMES else "")
    where = f"; give one of these as path: {rest}" if rest else "; find in the shell sees all"
    return (
        f"[only the first {count:,} files were looked at, "
        f"to {printable_name(context.shown(last))}{where}]"
    )
