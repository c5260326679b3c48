"""The write tool: creates a file, or replaces one that the model has read, or definitions of it."""

from __future__ import annotations

import asyncio
import difflib
import re
from typing import Any, ClassVar

from laguna_agent.actions import Action
from laguna_agent.tools import file_change
from laguna_agent.tools.code.redefinition import RedefinitionError, redefined
from laguna_agent.tools.file_change import ChangeRefusedError, FileChange
from laguna_agent.tools.files import read_state, storage
from laguna_agent.tools.files.encoding import Document, Splice, printable_name
from laguna_agent.tools.files.merging import Lines
from laguna_agent.tools.files.workspace import PathError, WorkspacePath, resolve_path
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
        made = redefined(target.relative, document.text, content)
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
    matcher = difflib.SequenceMatcher(None, old.lines, new.lines, autojunk=long)
    splices = []
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            splices.append(Splice(old.start(a), old.start(b), content[new.start(c) : new.start(d)]))
    result = document.splice(splices)
    return result if result.text == content else document.with_text(content)
