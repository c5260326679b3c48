"""The symbols tool: shows the structure of code from its syntax trees."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from laguna_agent.actions import Action, ReadPath
from laguna_agent.clip import clip_line
from laguna_agent.plurals import counted
from laguna_agent.tools.code import repository_map
from laguna_agent.tools.code.index import (
    Definition,
    FileIndex,
    IndexCache,
    SourceFile,
    source_files,
)
from laguna_agent.tools.code.references import references
from laguna_agent.tools.files import read_state
from laguna_agent.tools.files.encoding import printable, printable_name
from laguna_agent.tools.files.workspace import PathError, WorkspacePath, file_status, resolve_path
from laguna_agent.tools.output import numbered
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult

_CACHE = "symbols.cache"
_MAP_TOKENS = 1_500
_MAX_FOUND = 12
_SHORT = 40


class SymbolsArguments(ToolArguments):
    """What to show, of which name or path."""

    action: Literal["outline", "definition", "references", "source", "map"]
    name: str = ""
    path: str = "."


@dataclass(frozen=True)
class _Found:
    path: str
    definition: Definition


class SymbolsTool:
    """Shows the structure of code."""

    name: ClassVar[str] = "symbols"
    kind: ClassVar[ToolKind] = "read"
    description: ClassVar[str] = "Code structure. outline, map: of path; others: of name."
    arguments: ClassVar[type[ToolArguments]] = SymbolsArguments
    example: ClassVar[dict[str, Any]] = {"action": "source", "name": "NAME"}

    def title(self, arguments: SymbolsArguments, context: ToolContext) -> str:
        """`References of f`."""
        what = arguments.action.capitalize()
        if arguments.action in ("outline", "map") or not arguments.name:
            return printable_name(f"{what} of {arguments.path}")
        return printable_name(f"{what} of {arguments.name}")

    def actions(self, arguments: SymbolsArguments, context: ToolContext) -> list[Action]:
        """Reading the file or directory that is analysed."""
        try:
            return [ReadPath(path=str(resolve_path(context, arguments.path, guess=True).path))]
        except PathError:
            return []

    async def run(self, arguments: SymbolsArguments, context: ToolContext) -> ToolResult:
        """Look up the symbols."""
        return await asyncio.to_thread(self._run, arguments, context)

    def _run(self, arguments: SymbolsArguments, context: ToolContext) -> ToolResult:
        try:
            target = resolve_path(context, arguments.path, guess=True)
            if file_status(target) is None:
                raise PathError(f"{target.label} does not exist.")
        except PathError as error:
            return ToolResult(ok=False, content=str(error))
        name = arguments.name.strip().strip("`'\"").removesuffix("()")
        if arguments.action in ("definition", "references", "source") and not name:
            text = f"symbols: {arguments.action} needs a name."
            return ToolResult(ok=False, content=text)
        files = (
            s for s in source_files(target.root, target.relative) if _readable(s, target, context)
        )
        if arguments.action == "outline":
            return _outline(target, files, context, name)
        if arguments.action == "map":
            return _map(target, files, context)
        if arguments.action == "references":
            return _references(files, context, name)
        return _definition(target, list(files), context, name, source=arguments.action == "source")


def _readable(source: SourceFile, target: WorkspacePath, context: ToolContext) -> bool:
    return context.may_read(str(target.root / source.path))


def _cache(context: ToolContext) -> IndexCache:
    cache = context.state.get(_CACHE)
    if not isinstance(cache, IndexCache):
        cache = IndexCache(context.cache_dir or context.state_dir)
        context.state[_CACHE] = cache
    return cache


# --- outline and map ------------------------------------------------------------------------


def _outline(
    target: WorkspacePath, files: Iterable[SourceFile], context: ToolContext, name: str
) -> ToolResult:
    indexes = _cache(context).indexes(files)
    if not indexes:
        text = f"{target.label} holds no source in a known language."
        return ToolResult(ok=False, content=text)
    single = len(indexes) == 1
    room = context.max_output_chars
    blocks: list[str] = []
    for count, (path, index) in enumerate(indexes.items()):
        block = _file_outline(context.shown(path), index, name, deep=single)
        room -= len(block) + 1
        if room < 0 and blocks:
            left = len(indexes) - count
            blocks.append(f"[… {left} more files; outline a subfolder or a file]")
            break
        blocks.append(block[: context.max_output_chars])
    text = "\n".join(block for block in blocks if block)
    return ToolResult(
        ok=True, content=text, summary=counted(len(indexes), "file"), truncated=room < 0
    )


def _file_outline(path: str, index: FileIndex, name: str, *, deep: bool) -> str:
    lines = [f"{printable_name(path)} ({index.lines} lines)"]
    for d in index.definitions:
        if (d.depth and not deep and d.kind != "method") or d.depth > (2 if deep else 1):
            continue
        if name and name not in d.qualified:
            continue
        if not deep and d.kind in ("constant", "variable", "key", "rule"):
            continue
        where = f"{d.line}-{d.last}" if d.last > d.line else f"{d.line}"
        lines.append(f"{where} {'  ' * d.depth}{d.signature}")
    return "\n".join(lines)


def _map(target: WorkspacePath, files: Iterable[SourceFile], context: ToolContext) -> ToolResult:
    ranked = repository_map.ranking(_cache(context), list(files))
    ranked = [item._replace(path=context.shown(item.path)) for item in ranked]
    text = repository_map.fit(ranked, min(_MAP_TOKENS, context.max_output_chars // 4))
    if not text:
        return ToolResult(ok=True, content=f"{target.label} holds no code to map.")
    return ToolResult(ok=True, content=printable(text), summary=f"map of {target.label}")


# --- definition, source, references ---------------------------------------------------------


def _last_part(name: str) -> str:
    return name.replace("::", ".").replace("#", ".").rpartition(".")[2]


def _find(files: list[SourceFile], context: ToolContext, name: str) -> list[_Found]:
    """Definitions of the name, narrowed by `Class.name`, in files that contain the word."""
    last = _last_part(name)
    word = last.encode("utf-8", "surrogateescape")
    holding = [source for source in files if word in source.data]
    indexes = _cache(context).indexes(holding)
    wanted = name.replace("::", ".").replace("#", ".")
    found = [
        _Found(path, d)
        for path, index in indexes.items()
        for d in index.definitions
        if d.name == name or _last_part(d.name) == last
    ]
    narrow = [
        f
        for f in found
        if f"{f.path.replace('/', '.').rpartition('.')[0]}.{f.definition.qualified}".replace(
            "::", "."
        ).endswith(f".{wanted}")
    ]
    ordered = sorted(
        narrow or ([] if "." in wanted else found),
        key=lambda f: (f.definition.kind == "declaration", f.definition.depth, f.path),
    )
    return ordered or found


def _similar(files: list[SourceFile], context: ToolContext, name: str) -> list[str]:
    indexes = _cache(context).indexes(files)
    names = {d.name for index in indexes.values() for d in index.definitions}
    folded = {n.lower(): n for n in names}
    last = _last_part(name).lower()
    if last in folded:
        return [folded[last]]
    return [folded[n] for n in difflib.get_close_matches(last, folded, n=3, cutoff=0.6)]


def _definition(
    target: WorkspacePath, files: list[SourceFile], context: ToolContext, name: str, *, source: bool
) -> ToolResult:
    found = _find(files, context, name)
    if not found:
        similar = _similar(files, context, name)
        hint = f" Similar: {', '.join(similar)}." if similar else ""
        where = "" if target.path == context.start else f" in {target.label}"
        return ToolResult(ok=False, content=f"{name} is not defined{where}.{hint}")
    listing = [
        f"{printable_name(context.shown(path))}:{d.line} {d.kind} {d.qualified}: {d.signature}"
        for path, d in ((f.path, f.definition) for f in found[:_MAX_FOUND])
    ]
    if len(found) > _MAX_FOUND:
        listing.append(f"[… {len(found) - _MAX_FOUND} more]")
    first = found[0]
    data = next(f.data for f in files if f.path == first.path)
    length = first.definition.last - first.definition.first + 1
    if source or (len(found) == 1 and length <= _SHORT):
        shown = _source(target, first, data, context)
        others = listing[1:]
        if others:
            shown += "\nAlso defined at:\n" + "\n".join(others)
        return ToolResult(ok=True, content=shown, summary=listing[0])
    return ToolResult(ok=True, content="\n".join(listing), summary=listing[0])


def _source(target: WorkspacePath, found: _Found, data: bytes, context: ToolContext) -> str:
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    d = found.definition
    kept, room = [], context.max_output_chars
    for line in lines[d.first - 1 : d.last]:
        room -= min(len(line), 400) + 7
        if room < 0:
            break
        kept.append(line)
    shown = range(d.first, d.first + len(kept))
    source_file = WorkspacePath(target.root, found.path, found.path)
    read_state.record_shown(context, source_file, data, lines=shown, total=len(lines))
    text = f"{printable_name(context.shown(found.path))}:\n{numbered(kept, d.first)}"
    if shown.stop <= d.last:
        text += f"\n[… to line {d.last}; read {context.shown(found.path)} from {shown.stop}]"
    return text


def _references(files: Iterable[SourceFile], context: ToolContext, name: str) -> ToolResult:
    word = _last_part(name).encode("utf-8", "surrogateescape")
    holding = [source for source in files if word in source.data]
    found = references(holding, _last_part(name))
    if not found:
        return ToolResult(ok=True, content=f"No reference to {name}.", summary="none")
    indexes = _cache(context).indexes(holding)
    defined = {
        (path, d.line)
        for path, index in indexes.items()
        for d in index.definitions
        if _last_part(d.name) == _last_part(name)
    }
    by_file: dict[str, list[str]] = {}
    room = context.max_output_chars
    shown = 0
    paths = {reference.path for reference in found}
    for reference in sorted(found, key=lambda r: ((r.path, r.line) not in defined, r.path, r.line)):
        mark = " (definition)" if (reference.path, reference.line) in defined else ""
        line = f"{reference.line}: {clip_line(reference.text, 160)}{mark}"
        room -= len(line) + 1 + (0 if reference.path in by_file else len(reference.path) + 2)
        if room < 0:
            break
        by_file.setdefault(reference.path, []).append(line)
        shown += 1
    blocks = [
        f"{printable_name(context.shown(path))}:\n" + "\n".join(lines)
        for path, lines in by_file.items()
    ]
    if shown < len(found):
        blocks.append(f"[… {len(found) - shown} more; narrow down with path]")
    header = f"{len(found)} reference{'s' if len(found) != 1 else ''} in {len(paths)} file"
    header += "s" if len(paths) != 1 else ""
    text = "\n".join([header, *blocks])
    return ToolResult(ok=True, content=text, summary=header, truncated=shown < len(found))
