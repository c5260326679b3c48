"""The write tool: a whole file, new or over one that the model knows."""

from __future__ import annotations

import asyncio
import difflib
import re
from typing import Any, ClassVar

from laguna_agent.actions import Action
from laguna_agent.tools import changing, seen, storage
from laguna_agent.tools.base import ToolArguments, ToolContext, ToolKind, ToolResult
from laguna_agent.tools.changing import Plan, RefusalError
from laguna_agent.tools.encoding import Document, Splice, printable
from laguna_agent.tools.matching import Lines
from laguna_agent.tools.workspace import PathError, Place, locate

_FENCE = re.compile(r"\A\s*```[\w+.-]*[ \t]*\n(.*?\n?)```\s*\Z", re.DOTALL)
_FENCED_FORMATS = (".md", ".markdown", ".rst", ".txt", ".mdx", ".adoc")
_ELISION = re.compile(
    r"^\s*(?:#|//|/\*+|\*|--|<!--|;|%)?\s*(?:\.{3}|…|\[|\()?\s*"
    r"(?:(?:the |all |your )?(?:rest|remainder|remaining|existing|previous|other|same|unchanged)\b"
    r".{0,50}\b(?:code|file|lines?|functions?|methods?|class(?:es)?|imports?|content|"
    r"implementation|unchanged|same|as before|here|stays?|remains?)\b"
    r"|(?:unchanged|omitted|as before|same as (?:before|above))\b)"
    r"[^=(){}]{0,40}$",
    re.IGNORECASE,
)
_BARE_ELLIPSIS = re.compile(r"^\s*(?:#|//|/\*+|--|<!--|;)\s*(?:\.{3}|…)\s*(?:\*/|-->)?\s*$")


class WriteArguments(ToolArguments):
    """What to write."""

    path: str
    content: str


class WriteTool:
    """Creates a file or replaces all of it."""

    name: ClassVar[str] = "write"
    kind: ClassVar[ToolKind] = "edit"
    description: ClassVar[str] = "Create a file, or replace it with its whole new content."
    arguments: ClassVar[type[ToolArguments]] = WriteArguments
    example: ClassVar[dict[str, Any]] = {"path": "NAME.py", "content": "x = 1\n"}

    def title(self, arguments: WriteArguments, context: ToolContext) -> str:
        """`Write a.py`."""
        return f"Write {printable(arguments.path)}"

    def actions(self, arguments: WriteArguments, context: ToolContext) -> list[Action]:
        """The file that is written, with the diff."""
        try:
            plan: Plan | RefusalError = _plan(arguments, context)
        except PathError as error:
            plan = RefusalError(str(error))
        except RefusalError as refusal:
            plan = refusal
        return changing.actions(plan, arguments.path, context, arguments)

    async def run(self, arguments: WriteArguments, context: ToolContext) -> ToolResult:
        """Write the file."""
        return await asyncio.to_thread(self._run, arguments, context)

    def _run(self, arguments: WriteArguments, context: ToolContext) -> ToolResult:
        storage.recover(context)
        try:
            plan = _plan(arguments, context)
            changing.check_asked(context, arguments)
            what = "Created" if plan.old is None else "Rewrote"
            return changing.carry_out(plan, context, f"{what} {plan.place.label}")
        except PathError as error:
            return ToolResult(ok=False, content=str(error))
        except RefusalError as refusal:
            return changing.refused(refusal, context)


def _plan(arguments: WriteArguments, context: ToolContext) -> Plan:
    place = locate(context, arguments.path)
    content = _cleaned(arguments.content, place)
    if storage.check_writable(place) is None:
        _check_new(place, arguments.path)
        if "\n" in content and not content.endswith("\n"):
            content += "\n"
        return Plan(place, None, Document(content), [], whole=True)
    document, data = changing.current(place)
    changing.check_hash(context, place, document, data)
    _check_known(context, place, document, data)
    content = content.replace("\r\n", "\n")
    if document.text.endswith("\n") and content and not content.endswith("\n"):
        content += "\n"
    if content == document.text:
        raise RefusalError(f"{place.label} already has exactly this content; nothing was changed.")
    _check_complete(place, document.text, content)
    return Plan(place, document, _rewritten(document, content), [], whole=True)


def _cleaned(content: str, place: Place) -> str:
    """The content without a fence around all of it, which belongs to the answer, not the file."""
    if place.relative.lower().endswith(_FENCED_FORMATS):
        return content
    match = _FENCE.match(content)
    return match.group(1) if match and "```" not in match.group(1) else content


def _check_new(place: Place, raw: str) -> None:
    if place.relative == "." or raw.rstrip().endswith("/"):
        raise PathError(f"{raw} names a directory; give the path of a file.")


def _check_known(context: ToolContext, place: Place, document: Document, data: bytes) -> None:
    """Raises RefusalError when the model would overwrite what it has not seen."""
    known = seen.recall(context, place)
    if not document.text.strip() or (known is not None and known.whole):
        return
    lines = document.text.rstrip("\n").split("\n")
    shown = changing.head(lines)
    whole = not shown.endswith("more lines]")
    why = "you have not read it" if known is None else "you have read only a part of it"
    then = (
        "Write again if all of it shall be replaced, else use edit."
        if whole
        else "Read the rest first, or use edit."
    )
    raise RefusalError(
        f"{place.label} exists and {why}; nothing was written. {then} It holds:\n{shown}",
        "the file was not read",
        shown=(place, data),
        whole=whole,
    )


def _check_complete(place: Place, old: str, new: str) -> None:
    """Raises RefusalError when the new content leaves code out and says so in a comment."""
    before = set(old.split("\n"))
    for number, line in enumerate(new.split("\n"), 1):
        if line in before or not (_ELISION.match(line) or _BARE_ELLIPSIS.match(line)):
            continue
        if new.count("\n") < old.count("\n"):
            raise RefusalError(
                f"line {number} leaves code out ({line.strip()[:60]}); {place.label} was not "
                "changed. Write the whole file, or use edit for a part of it.",
                "the content leaves code out",
            )


def _rewritten(document: Document, content: str) -> Document:
    """The new content, with the bytes of every line that stays."""
    old, new = Lines.of(document.text), Lines.of(content)
    matcher = difflib.SequenceMatcher(None, old.lines, new.lines, autojunk=False)
    if len(old.lines) * len(new.lines) > 25_000_000 or not document.text:
        return document.with_text(content)
    splices = []
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            splices.append(Splice(old.start(a), old.start(b), content[new.start(c) : new.start(d)]))
    result = document.splice(splices)
    return result if result.text == content else document.with_text(content)
