"""Indexes what source files define and mention, using tree-sitter, cached by content hash.

The cache is one SQLite file; losing it only costs time. A broken or locked cache is ignored.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from laguna_agent.tools.code.languages import language_of, load, parse
from laguna_agent.tools.code.queries import MENTIONS, QUERIES
from laguna_agent.tools.files.read_state import digest
from laguna_agent.tools.files.walk import walk
from laguna_agent.tools.files.workspace import PathError, WorkspacePath, read_bytes

if TYPE_CHECKING:
    from tree_sitter import Node, Query

FILE_LIMIT = 1 << 20
"""Largest file that is indexed, in bytes; larger ones are usually generated."""
MAX_FILES = 20_000
_VERSION = 4
"""Part of every cache key: increase it when the extraction changes."""
_CACHE_LIMIT = 512 << 20
_SIGNATURE = 160
_CONTAINERS = {
    "class",
    "interface",
    "struct",
    "trait",
    "impl",
    "module",
    "namespace",
    "enum",
    "record",
    "union",
    "table",
}
_DIRECTIVE = re.compile(
    rb"#!|#(?:include|if|ifdef|ifndef|elif|else|endif|define|undef|pragma|error)\b"
)
_DATA = {"constant", "variable", "field", "key"}
_LINE_COMMENTS = (b"#", b"//", b"*", b"/*", b"--", b"@", b"[")


@dataclass(frozen=True)
class Definition:
    """A definition. Lines are 1-based: `line` is that of the name, `first` to `last` span all of it
    with its decorators."""

    name: str
    kind: str
    line: int
    first: int
    last: int
    signature: str
    parent: str = ""
    """Dotted name of the enclosing definition."""

    @property
    def qualified(self) -> str:
        """`Class.method`."""
        return f"{self.parent}.{self.name}" if self.parent else self.name

    @property
    def depth(self) -> int:
        """The number of enclosing definitions."""
        return self.parent.count(".") + 1 if self.parent else 0


@dataclass(frozen=True)
class FileIndex:
    """One source file: its definitions in order, and how often it mentions each word."""

    language: str
    definitions: tuple[Definition, ...]
    words: dict[str, int]
    lines: int

    def outline(self, after: int = 0) -> list[str]:
        """What is defined behind line `after`, but for data and what is deep inside: each with its
        line."""
        return [
            f"{d.line}{' ' * (1 + 2 * d.depth)}{d.signature}"
            for d in self.definitions
            if d.line > after and d.depth <= 1 and d.kind not in _DATA
        ]


# --- extraction -----------------------------------------------------------------------------


class _Capture(NamedTuple):
    """A definition found by a query; ordered by start, the longer one first."""

    start: int
    negative_end: int
    node: Node
    name: Node
    kind: str


@functools.cache
def _query(language: str) -> Query:
    from tree_sitter import Query

    return Query(load(language), QUERIES[language])


@functools.cache
def _mentions(language: str) -> Query | None:
    from tree_sitter import Query

    kinds = MENTIONS.get(language, "").split()
    return Query(load(language), " ".join(f"({k}) @m" for k in kinds)) if kinds else None


def _words(language: str, root: Node, data: bytes) -> dict[str, int]:
    from tree_sitter import QueryCursor

    query = _mentions(language)
    nodes = QueryCursor(query).captures(root).get("m", []) if query else []
    words = Counter(data[node.start_byte : node.end_byte] for node in nodes)
    return {w.decode("utf-8", "replace"): n for w, n in words.items() if len(w) > 2}


def index_source(language: str, data: bytes) -> FileIndex:
    """Parse and extract; `data` is UTF-8."""
    from tree_sitter import QueryCursor

    root = parse(language, data).root_node
    by_name: dict[tuple[int, int], _Capture] = {}
    for _, captures in QueryCursor(_query(language)).matches(root):
        kind, nodes = next((k, v) for k, v in captures.items() if k not in ("name", "attribute"))
        node, name = nodes[0], captures["name"][0]
        span = (name.start_byte, name.end_byte)
        # `const f = () => 1` is both a constant and a function: keep the function.
        if span not in by_name or by_name[span].kind == "constant":
            by_name[span] = _Capture(node.start_byte, -node.end_byte, node, name, kind)
    found = list(by_name.values())
    found.sort(key=lambda capture: capture[:2])
    definitions = tuple(_definitions(found, data))
    return FileIndex(language, definitions, _words(language, root, data), data.count(b"\n") + 1)


def _definitions(found: list[_Capture], data: bytes) -> Iterator[Definition]:
    open_: list[tuple[int, str]] = []  # end and name of the enclosing definitions
    for start, negative_end, node, name_node, kind in found:
        end = -negative_end
        while open_ and open_[-1][0] <= start:
            open_.pop()
        name = data[name_node.start_byte : name_node.end_byte].decode("utf-8", "replace").strip()
        name = " ".join(name.split())[:120]
        parent = ".".join(n for _, n in open_)
        outer = _outer(node)
        yield Definition(
            name=name,
            kind="method" if kind == "function" and parent and _in_container(node) else kind,
            line=name_node.start_point[0] + 1,
            first=_with_comments(outer, data),
            last=outer.end_point[0] + (0 if outer.end_point[1] == 0 else 1),
            signature=_signature(node, data),
            parent=parent,
        )
        if kind in _CONTAINERS or kind in ("function", "method"):
            open_.append((end, name))


def _in_container(node: Node) -> bool:
    parent = node.parent
    while parent is not None:
        if "class" in parent.type or parent.type in ("impl_item", "trait_item"):
            return True
        if "function" in parent.type:
            return False
        parent = parent.parent
    return False


_WRAPPERS = {
    "decorated_definition",
    "export_statement",
    "lexical_declaration",
    "variable_declaration",
    "type_declaration",
    "template_declaration",
    "expression_statement",
    "ambient_declaration",
}


def _outer(node: Node) -> Node:
    """The statement that contains only this definition and its decorators."""
    while node.parent is not None and node.parent.type in _WRAPPERS:
        if node.parent.type == "type_declaration" and node.parent.named_child_count > 1:
            break
        node = node.parent
    return node


def _with_comments(node: Node, data: bytes) -> int:
    """The 1-based line where the comment directly above a definition begins."""
    row = node.start_point[0]
    start = data.rfind(b"\n", 0, node.start_byte) + 1
    while start > 0:
        before = data.rfind(b"\n", 0, start - 1) + 1
        line = data[before : start - 1].strip()
        if not line.startswith(_LINE_COMMENTS) or _DIRECTIVE.match(line):
            break
        row, start = row - 1, before
    return row + 1


def _comments(node: Node, end: int) -> Iterator[Node]:
    """Comments in a node that begin before `end`, in their order."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if "comment" in node.type:
            yield node
        else:
            waiting += [child for child in reversed(node.children) if child.start_byte < end]


def _signature(node: Node, data: bytes) -> str:
    body = node.child_by_field_name("body") or node.child_by_field_name("value")
    if body is not None and body.start_byte > node.start_byte and body.type != "identifier":
        text, start = b"", node.start_byte
        for comment in _comments(node, body.start_byte):
            text += data[start : comment.start_byte]
            start = comment.end_byte
        text += data[start : body.start_byte]
    else:
        text = data[node.start_byte : node.end_byte].split(b"\n", 1)[0]
    flat = " ".join(text.decode("utf-8", "replace").split()).rstrip(" {:=")
    flat = flat.replace("( ", "(").replace(", )", ")").replace(" )", ")")
    return flat if len(flat) <= _SIGNATURE else flat[: _SIGNATURE - 1] + "…"


# --- files ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceFile:
    """A source file: its path relative to the root, language, content and hash."""

    path: str
    language: str
    data: bytes
    hash: str


def read_source(root: Path, relative: str) -> SourceFile | None:
    """The file, None if it is not source code that can be parsed."""
    try:
        data = read_bytes(WorkspacePath(root, relative, relative), FILE_LIMIT + 1)
    except PathError:
        return None
    language = language_of(relative, data[:4096])
    if language is None or len(data) > FILE_LIMIT or b"\0" in data[:4096]:
        return None
    if len(data) > 20_000 and data.count(b"\n") * 500 < len(data):
        return None  # minified
    return SourceFile(relative, language, data, digest(data))


def source_files(root: Path, start: str = ".") -> Iterator[SourceFile]:
    """All source files below `root/start`, or that file itself."""
    if (root / start).is_file():
        source = read_source(root, start)
        if source is not None:
            yield source
        return
    for entry in walk(root, start, limit=MAX_FILES):
        named = "." in entry.name[1:]
        if entry.size > FILE_LIMIT or (named and language_of(entry.relative) is None):
            continue
        source = read_source(root, entry.relative)
        if source is not None:
            yield source


# --- cache ----------------------------------------------------------------------------------


class IndexCache:
    """Indexes by content hash, in memory and in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "symbols.sqlite"
        self._memory: dict[str, FileIndex] = {}

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > _CACHE_LIMIT:
            self._path.unlink()
        connection = sqlite3.connect(self._path, timeout=2)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB)")
        return connection

    def load(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The values stored under the keys."""
        wanted = list(keys)
        found: dict[str, bytes] = {}
        try:
            with contextlib.closing(self._open()) as connection:
                for i in range(0, len(wanted), 500):
                    part = wanted[i : i + 500]
                    marks = ",".join("?" * len(part))
                    rows = connection.execute(
                        f"SELECT key, value FROM entries WHERE key IN ({marks})",
                        part,
                    )
                    found.update(rows.fetchall())
        except (sqlite3.Error, OSError):
            self._discard()
        return found

    def store(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Store values; a cache that cannot be written is ignored."""
        try:
            with contextlib.closing(self._open()) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", entries)
        except (sqlite3.Error, OSError):
            self._discard()

    def _discard(self) -> None:
        """Remove a cache file that is not a database; keep one that is only busy."""
        with contextlib.suppress(OSError):
            with self._path.open("rb") as stream:
                if stream.read(16) in (b"SQLite format 3\0", b""):
                    return
            self._path.unlink()

    def indexes(self, files: Iterable[SourceFile]) -> dict[str, FileIndex]:
        """The index of each file by path, parsing those that are not cached."""
        wanted = list(files)
        keys = {source.path: f"{_VERSION}:{source.language}:{source.hash}" for source in wanted}
        missing = {key for key in keys.values() if key not in self._memory}
        stored = self.load(missing) if missing else {}
        fresh: list[tuple[str, bytes]] = []
        result: dict[str, FileIndex] = {}
        for source in wanted:
            key = keys[source.path]
            index = self._memory.get(key)
            if index is None and key in stored:
                index = _unpack(stored[key])
            if index is None:
                index = index_source(source.language, source.data)
                fresh.append((key, _pack(index)))
            self._memory[key] = index
            result[source.path] = index
        if fresh:
            self.store(fresh)
        return result


def _pack(index: FileIndex) -> bytes:
    fields = [
        [d.name, d.kind, d.line, d.first, d.last, d.signature, d.parent] for d in index.definitions
    ]
    data = [index.language, fields, index.words, index.lines]
    return zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 1)


def _unpack(data: bytes) -> FileIndex | None:
    try:
        language, fields, words, lines = json.loads(zlib.decompress(data))
        return FileIndex(language, tuple(Definition(*f) for f in fields), words, lines)
    except (ValueError, TypeError, zlib.error):
        return None
