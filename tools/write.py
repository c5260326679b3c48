"""The write tool: creates a file, or replaces one that the model has read, or definitions of it."""

from __future__ import annotations

import asyncio
import re
from difflib import SequenceMatcher
from functools import partial
from itertools import islice
from typing import Any, ClassVar, NamedTuple

from laguna_agent.actions import Action
from laguna_agent.tools import file_change
from laguna_agent.tools.code.python_syntax import defines
from laguna_agent.tools.code.redefinition import RedefinitionError, redefined
from laguna_agent.tools.file_change import ChangeRefusedError, FileChange
from laguna_agent.tools.files import read_state, storage
from laguna_agent.tools.files.encoding import Document, Splice, decode, printable_name
from laguna_agent.tools.files.merging import Lines
from laguna_agent.tools.files.workspace import (
    PathError,
    WorkspacePath,
    read_bytes,
    resolve_path,
)
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult

_FENCE = re.compile(r"\A\s*```[\w+.-]*[ \t]*\n(.*?\n?)```\s*\Z", re.DOTALL)
_FENCED_FORMATS = (".md", ".markdown", ".rst", ".txt", ".mdx", ".adoc")
_COMMENT = re.compile(r"^\s*(?:#|//|/\*+|\*|--|<!--|;|%)\s*(.*?)\s*(?:\*/|-->)?\s*$")
_DOTS = re.compile(r"\.{3,}|…")
_OMISSION = re.compile(
    r"(?:(?:the|all|your) )?(?:rest|remainder|remaining|existing|previous|other|unchanged)"
    r"(?: (?:of|the|this|your|existing|other|same|code|file|lines?|functions?|methods?|class|"
    r"classes|imports?|contents?|implementations?|logic|tests?|helpers?|remains?|stays?|unchanged|"
    r"unmodified|as|before|here|goes|is|are|omitted|above|below|for|brevity|and))*"
    r"|(?:unchanged|omitted(?: for brevity)?|(?:same )?as (?:before|above)|snip)",
    re.IGNORECASE,
)
_BESIDE = re.compile(r"[\W_]*|\W*lines \d+\D{1,4}\d+\W*")
"""At the ends of such lines: brackets, and what a result shows in the place of more lines."""
_ALIKE, _KEPT, _MOST_PLACES = 0.5, 0.7, 200
"""Likeness of lines that are written again with a change, how many of them there must be, and
places that are compared."""
_LEFT_OUT = re.compile(r"\s*(?:\.{3,}|…)\s*")
_LARGEST = 1 << 20


class WriteArguments(ToolArguments):
    """The file and its whole content."""

    path: str
    content: str


class WriteTool:
    """Creates a file or replaces its content."""

    name: ClassVar[str] = "write"
    kind: ClassVar[ToolKind] = "edit"
    description: ClassVar[str] = "Create a file, or replace all of it."
    arguments: ClassVar[type[ToolArguments]] = WriteArguments
    example: ClassVar[dict[str, Any]] = {"path": "NAME.py", "content": "x = 1\n"}

    def title(self, arguments: WriteArguments, context: ToolContext) -> str:
        """`Write a.py`."""
        return f"Write {printable_name(arguments.path)}"

    def actions(self, arguments: WriteArguments, context: ToolContext) -> list[Action]:
        """Writing the file, with the diff."""
        return file_change.actions(
            lambda: _change(arguments, context), arguments.path, context, arguments
        )

    async def run(self, arguments: WriteArguments, context: ToolContext) -> ToolResult:
        """Write the file."""
        return await asyncio.to_thread(
            file_change.run, lambda: _change(arguments, context), "Rewrote", context, arguments
        )


def _change(arguments: WriteArguments, context: ToolContext) -> FileChange:
    target = resolve_path(context, arguments.path)
    content = _without_fence(arguments.content, target)
    if storage.check_writable(target) is None:
        _check_new(target, arguments.path)
        if "\n" in content and not content.endswith("\n"):
            content += "\n"
        return FileChange(target, None, Document(content), [], whole=True)
    document, data = file_change.read_document(context, target)
    file_change.check_unchanged(context, target, document, data)
    content = content.replace("\r\n", "\n")
    try:
        made = redefined(
            target.relative, document.text, content, partial(_defines, context, target)
        )
    except RedefinitionError as error:
        raise ChangeRefusedError(f"{error}. Nothing was written.") from None
    if made is not None:
        if made.text == document.text:
            raise ChangeRefusedError(
                f"{target.label} already has {', '.join(made.replaced)} so; nothing was changed. "
                "What content leaves out stays: use edit to remove it."
            )
        _check_complete(target, document.text, made.text, content)
        text = _rewritten(document, made.text)
        return FileChange(target, document, text, made.notes, told=True)
    if (lines := _lines_shown(context, target, document, data, content)) is not None:
        _check_complete(target, document.text, lines.text, content)
        text = _rewritten(document, lines.text)
        return FileChange(target, document, text, [lines.note], told=True)
    _check_known(context, target, document, data)
    if document.text.endswith("\n") and content and not content.endswith("\n"):
        content += "\n"
    if content == document.text:
        raise ChangeRefusedError(
            f"{target.label} already has exactly this content; nothing was changed."
        )
    _check_complete(target, document.text, content, content)
    return FileChange(target, document, _rewritten(document, content), [], whole=True)


def _without_fence(content: str, target: WorkspacePath) -> str:
    """The content without a Markdown fence around all of it."""
    if target.relative.lower().endswith(_FENCED_FORMATS):
        return content
    match = _FENCE.match(content)
    return match.group(1) if match and "```" not in match.group(1) else content


def _check_new(target: WorkspacePath, raw: str) -> None:
    if target.relative == "." or raw.rstrip().endswith("/"):
        raise PathError(f"{raw} names a directory; give the path of a file.")


def _defines(context: ToolContext, target: WorkspacePath, module: str, name: str) -> bool:
    """Whether a module beside a file, or of the workspace, is there and defines a name."""
    dots = len(module) - len(module.lstrip("."))
    folder = target.path.parents[max(dots, 1) - 1]
    for root in {folder, *([] if dots else [context.workspace])}:
        for end in (".py", "/__init__.py"):
            path = root / (module.lstrip(".").replace(".", "/") + end)
            try:
                other = resolve_path(context, str(path))
                document = decode(read_bytes(other, _LARGEST))
            except (PathError, OSError):
                continue
            if other.path != target.path and document is not None:
                return defines(document.text, name)
    return False


class _Part(NamedTuple):
    text: str
    """The whole file, with the part in its place."""
    note: str


def _lines_shown(
    context: ToolContext, target: WorkspacePath, document: Document, data: bytes, content: str
) -> _Part | None:
    """Where the model has seen some lines of a long file, and writes these again with a change: the
    file with them in their place. None where that is not what the content is."""
    known = read_state.known_state(context, target)
    if known is None or known.whole or known.hash != read_state.digest(data):
        return None
    old, new = document.text.split("\n"), content.rstrip("\n").split("\n")
    while new and _BESIDE.fullmatch(new[0]):
        new.pop(0)
    while new and _BESIDE.fullmatch(new[-1]):
        new.pop()
    if len(new) < 2 or 2 * len(new) > len(old):
        return None
    seen = {line - 1 for line in known.lines}
    pairs = (
        (first, last)
        for first in sorted(n for n in seen if n < len(old) and old[n].rstrip() == new[0].rstrip())
        for last in range(first + len(new) // 2, min(first + 2 * len(new), len(old)))
        if old[last].rstrip() == new[-1].rstrip() and seen.issuperset(range(first, last + 1))
    )
    places = [
        (SequenceMatcher(None, old[first : last + 1], new, autojunk=False).ratio(), first, last)
        for first, last in islice(pairs, _MOST_PLACES)
    ]
    places.sort(reverse=True)
    likeness, first, last = places[0] if places else (0.0, 0, 0)
    several = len(places) > 1 and places[1][0] == likeness
    cut = len(new) < _KEPT * (last + 1 - first) or any(map(_LEFT_OUT.fullmatch, new))
    if several or cut or likeness < _ALIKE or old[first : last + 1] == new:
        return None
    text = "\n".join([*old[:first], *new, *old[last + 1 :]])
    return _Part(text, f"Replaced lines {first + 1} to {last + 1}. The rest stays as it was.")


def _check_known(
    context: ToolContext, target: WorkspacePath, document: Document, data: bytes
) -> None:
    """Raises ChangeRefusedError if the model would overwrite text that it has not read."""
    known = read_state.known_state(context, target)
    if not document.text.strip() or (known is not None and known.whole):
        return
    lines = document.text.rstrip("\n").split("\n")
    shown = file_change.numbered_head(lines)
    whole = not shown.endswith("more lines]")
    why = "you have not read it" if known is None else "you have read only a part of it"
    what = f"{target.label} exists and {why}; nothing was written."
    if whole:
        then = f"Write again to replace all of it, or use edit. It holds:\n{shown}"
    elif known is not None and known.lines and len(known.lines) <= _MOST_PLACES:
        first, last = min(known.lines), max(known.lines)
        some = f"lines {first} to {last} again, with the change"
        then = f"It has {len(lines):,} lines: read them, or write only {some}."
    else:  # a part of a long file is as good as none
        then = f"It has {len(lines):,} lines: read them, or change only what has to change."
    seen = (target, data) if whole else None
    raise ChangeRefusedError(f"{what} {then}", "the file was not read", shown=seen, whole=whole)


def is_placeholder(line: str) -> bool:
    """True for a comment in place of code: `# ... rest unchanged`, `// existing code`."""
    comment = _COMMENT.match(line)
    if comment is None:
        return False
    dots = _DOTS.search(comment.group(1)) is not None
    words = " ".join(_DOTS.sub(" ", comment.group(1)).strip("()[]{} .:").split())
    if not words:
        return dots
    known = _OMISSION.fullmatch(words) is not None
    return known and (dots or " " in words or words.lower() in ("unchanged", "omitted", "snip"))


def _check_complete(target: WorkspacePath, old: str, new: str, written: str) -> None:
    """Raises ChangeRefusedError when what the model has `written` leaves code out and says so in a
    comment, and the file gets shorter."""
    if new.count("\n") >= old.count("\n"):
        return
    before = set(old.split("\n"))
    for number, line in enumerate(written.split("\n"), 1):
        if line not in before and is_placeholder(line):
            raise ChangeRefusedError(
                f"line {number} leaves code out ({line.strip()[:60]}); {target.label} was not "
                "changed. Write the whole file, or use edit for a part of it.",
                "the content leaves code out",
            )


def _rewritten(document: Document, content: str) -> Document:
    """The new content, with the bytes of every line that stays."""
    old, new = Lines.of(document.text), Lines.of(content)
    if not document.text:
        return document.with_text(content)
    long = len(old.lines) * len(new.lines) > 4_000_000
    matcher = SequenceMatcher(None, old.lines, new.lines, autojunk=long)
    splices = []
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            splices.append(Splice(old.start(a), old.start(b), content[new.start(c) : new.start(d)]))
    result = document.splice(splices)
    return result if result.text == content else document.with_text(content)
