"""A directory as an indented tree that honours gitignore and fits a size."""

from __future__ import annotations

from collections import defaultdict

from laguna_agent.tools.files.encoding import printable_name
from laguna_agent.tools.files.walk import FileEntry, walk
from laguna_agent.tools.files.workspace import WorkspacePath
from laguna_agent.tools.tool import ToolContext

_MAX_ENTRIES = 20_000
_MAX_LINES = 200
_BIG = 100_000


def _size(size: int) -> str:
    if size < _BIG:
        return ""
    return f"  {size / 1e6:.1f} MB" if size < 1e9 else f"  {size / 1e9:.1f} GB"


def render_tree(context: ToolContext, target: WorkspacePath) -> str:
    """The tree of a directory; entries that do not fit are counted.

    Directories nearer to the top are listed first, so that a large folder deep down does not crowd
    out the rest.
    """
    children: dict[str, list[FileEntry]] = defaultdict(list)
    files_below: dict[str, int] = defaultdict(int)
    start = target.relative
    count = 0
    for entry in walk(target.root, start, limit=_MAX_ENTRIES, directories=True):
        if not context.may_name(str(target.root / entry.relative)):
            continue
        count += 1
        parent = entry.relative.rpartition("/")[0] or "."
        children[parent].append(entry)
        while not entry.is_directory:
            files_below[parent] += 1
            if parent in (start, "."):
                break
            parent = parent.rpartition("/")[0] or "."
    if not count:
        return f"{target.label} holds no files (ignored ones are not listed)."
    opened = _choose(children, start)
    lines: list[str] = []
    _render(children, files_below, opened, start, 0, lines)
    if count >= _MAX_ENTRIES:
        lines.append(f"[only the first {_MAX_ENTRIES:,} entries were read]")
    text = "\n".join(lines)
    return text if len(text) <= context.max_output_chars else _cut(text, context.max_output_chars)


def _cut(text: str, limit: int) -> str:
    kept = text[:limit].rpartition("\n")[0]
    return f"{kept}\n[… {text.count(chr(10)) - kept.count(chr(10))} more lines; read a subfolder]"


def _choose(children: dict[str, list[FileEntry]], start: str) -> dict[str, int]:
    """How many entries of each directory are listed, those nearest to the top first."""
    opened: dict[str, int] = {}
    room = _MAX_LINES
    level = [start]
    while level and room > 0:
        following = []
        for directory in level:
            entries = children.get(directory, [])
            share = len(entries) if directory == start else max(8, room // 4)
            shown = min(len(entries), share, room)
            if shown <= 0:
                continue
            opened[directory] = shown
            room -= shown
            following += [e.relative for e in _ordered(entries)[:shown] if e.is_directory]
        level = following
    return opened


def _ordered(entries: list[FileEntry]) -> list[FileEntry]:
    return sorted(entries, key=lambda entry: (not entry.is_directory, entry.relative))


def _render(
    children: dict[str, list[FileEntry]],
    files_below: dict[str, int],
    opened: dict[str, int],
    directory: str,
    depth: int,
    lines: list[str],
) -> None:
    indent = "  " * depth
    entries = _ordered(children.get(directory, []))
    shown = opened.get(directory, 0)
    for entry in entries[:shown]:
        name = printable_name(entry.name)
        if not entry.is_directory:
            lines.append(f"{indent}{name}{_size(entry.size)}")
        elif entry.relative in opened:
            lines.append(f"{indent}{name}/")
            _render(children, files_below, opened, entry.relative, depth + 1, lines)
        else:
            lines.append(f"{indent}{name}/  ({files_below[entry.relative]} files)")
    if len(entries) > shown:
        lines.append(f"{indent}… {len(entries) - shown} more")
