"""The edit tool: replaces text in a file, tolerating inexact but unambiguous matches."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from laguna_agent.actions import Action
from laguna_agent.tools import file_change
from laguna_agent.tools.code.languages import strict_problem
from laguna_agent.tools.file_change import ChangeRefusedError, FileChange
from laguna_agent.tools.files import edit_matching, read_state, storage
from laguna_agent.tools.files.diffs import shortened, unified
from laguna_agent.tools.files.edit_matching import NoMatchError
from laguna_agent.tools.files.encoding import Document, Splice, printable, printable_name
from laguna_agent.tools.files.merging import Match
from laguna_agent.tools.files.workspace import PathError, WorkspacePath, resolve_path
from laguna_agent.tools.output import numbered
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult

_UNCLEAR = "old leaves out lines, and it is unclear on which side of them the change belongs."


class Replacement(ToolArguments):
    """A further replacement in the same file."""

    old: str
    new: str


class EditArguments(ToolArguments):
    """The file, the text to replace, and its replacement."""

    path: str
    old: str
    new: str
    all: bool = False
    more: list[Replacement] = Field(default_factory=list)


@dataclass
class _FailedError(Exception):
    """One of several replacements failed."""

    index: int
    problem: NoMatchError


class EditTool:
    """Replaces text in a file."""

    name: ClassVar[str] = "edit"
    kind: ClassVar[ToolKind] = "edit"
    description: ClassVar[str] = "Replace old, unique in the file, by new. more: further edits."
    arguments: ClassVar[type[ToolArguments]] = EditArguments
    example: ClassVar[dict[str, Any]] = {"path": "NAME.py", "old": "x = 1", "new": "x = 2"}

    def title(self, arguments: EditArguments, context: ToolContext) -> str:
        """`Edit a.py`."""
        return f"Edit {printable_name(arguments.path)}"

    def actions(self, arguments: EditArguments, context: ToolContext) -> list[Action]:
        """Writing the file, with the diff."""
        return file_change.actions(
            lambda: _change(arguments, context), arguments.path, context, arguments
        )

    async def run(self, arguments: EditArguments, context: ToolContext) -> ToolResult:
        """Make all replacements, or none."""
        return await asyncio.to_thread(
            file_change.run, lambda: _change(arguments, context), "Edited", context, arguments
        )


def _change(arguments: EditArguments, context: ToolContext) -> FileChange:
    """Plan the change, without side effects."""
    edits = [(arguments.old, arguments.new), *((item.old, item.new) for item in arguments.more)]
    target = resolve_path(context, arguments.path, guess=True)
    if storage.check_writable(target) is None:
        return _creation(target, edits)
    document, data = file_change.read_document(context, target)
    file_change.check_unchanged(context, target, document, data)
    if all(old == new for old, new in edits):
        raise ChangeRefusedError("old and new are the same; nothing was changed.")
    if not document.text.strip() and len(edits) == 1 and not edits[0][0]:
        return FileChange(target, document, document.with_text(edits[0][1]), [], whole=True)
    known = read_state.known_state(context, target) is not None
    try:
        changed, notes = apply(document, edits, target.relative, every=arguments.all)
    except _FailedError as failed:
        message = _explain(target, document, edits, failed)
        raise ChangeRefusedError(message, str(failed.problem), shown=(target, data)) from None
    if notes and not known:
        shown = _around(document.text, changed.text)
        raise ChangeRefusedError(
            f"old is not exactly in {target.label}, which you have not read. It would fit here; "
            f"if this is meant, make the same edit again:\n{shown}",
            shown=(target, data),
        )
    if changed.raw == document.raw:
        raise ChangeRefusedError(f"{target.label} already is as this edit would leave it.")
    return FileChange(target, document, changed, notes)


def _creation(target: WorkspacePath, edits: Sequence[tuple[str, str]]) -> FileChange:
    if len(edits) == 1 and not edits[0][0] and edits[0][1]:
        return FileChange(target, None, Document(edits[0][1]), [], whole=True)
    raise PathError(f"{target.label} does not exist; use write to create it.")


# --- applying -------------------------------------------------------------------------------


def apply(
    document: Document, edits: Sequence[tuple[str, str]], path: str, *, every: bool = False
) -> tuple[Document, list[str]]:
    """Make all replacements; returns the new document and notes on matches that were not exact.

    Each `old` is matched in the original and all changes are made at once; if that fails, they are
    made one after the other. Raises _FailedError for the first that fails.
    """
    edits = [(old, new) for old, new in edits if old != new]
    try:
        return _at_once(document, edits, path, every=every)
    except _FailedError:
        if len(edits) == 1:
            raise
    notes: list[str] = []
    for index, edit in enumerate(edits):
        try:
            document, more = _at_once(document, [edit], path, every=every)
        except _FailedError as failed:
            raise _FailedError(index, failed.problem) from None
        notes += more
    return document, notes


def _at_once(
    document: Document, edits: Sequence[tuple[str, str]], path: str, *, every: bool
) -> tuple[Document, list[str]]:
    splices: list[tuple[Splice, int]] = []
    notes: list[str] = []
    parsed = strict_problem(path, document.text) is None
    for index, (old, new) in enumerate(edits):
        try:
            match = edit_matching.find(document.text, old, new, every=every)
            if match.ambiguous and not parsed:
                raise NoMatchError(_UNCLEAR)
            settled = _settle(document, match, path) if parsed else match.splices
            splices += [(splice, index) for splice in settled]
        except NoMatchError as problem:
            raise _FailedError(index, problem) from None
        if match.how:
            line = document.text.count("\n", 0, match.start) + 1
            notes.append(f"Matched at line {line} allowing for {match.how}.")
    for (a, _), (b, index) in itertools.pairwise(sorted(splices)):
        if a.end > b.start or (a.start, a.end) == (b.start, b.end):
            raise _FailedError(index, NoMatchError("two of the replacements overlap."))
    return document.splice([splice for splice, _ in splices]), notes


def _settle(document: Document, match: Match, path: str) -> list[Splice]:
    """The way to make one change after which the file still parses.

    An exact match is carried out even so: the text was given literally. A tolerant one that
    would break the file is refused.
    """
    good = [
        splices
        for splices in match.choices()
        if strict_problem(path, document.splice(splices).text) is None
    ]
    if good and not (match.ambiguous and len(good) > 1):
        return good[0]
    if match.ambiguous:
        raise NoMatchError(_UNCLEAR)
    if match.how:
        line = document.text.count("\n", 0, match.start) + 1
        raise NoMatchError(
            f"old fits at line {line} only allowing for {match.how}, and the result would not "
            "parse.",
            [line],
        )
    return match.splices


# --- explaining -----------------------------------------------------------------------------


def _explain(
    target: WorkspacePath,
    document: Document,
    edits: Sequence[tuple[str, str]],
    failed: _FailedError,
) -> str:
    old, new = edits[failed.index]
    which = f"Replacement {failed.index + 1} of {len(edits)}: " if len(edits) > 1 else ""
    lines = [f"{which}{failed.problem} Nothing was changed in {target.label}."]
    text = printable(document.text)
    source = text.split("\n")
    if failed.problem.lines:
        for number in failed.problem.lines[:4]:
            first = max(1, number - 1)
            lines.append(numbered(source[first - 1 : number + 2], first))
            lines.append("…")
        lines.pop()
    elif new.strip() and text.count(new) == 1:
        number = text.count("\n", 0, text.index(new)) + 1
        lines.append(f"new is already in the file, at line {number}: this may be done.")
    elif near := edit_matching.nearest(text, old):
        first, last, _ = near
        lines.append(f"The nearest text is lines {first}-{last}:")
        lines.append(numbered(source[first - 1 : last], first))
        theirs, ours = "\n".join(source[first - 1 : last]) + "\n", old.rstrip("\n") + "\n"
        diff = [x for x in unified(ours, theirs, context=0).split("\n") if x[:1] in "+-" and x]
        lines.append("Difference (- your old, + the file):")
        lines.append(shortened("\n".join(diff), lines=24, chars=1_500))
    else:
        lines.append("Nothing in the file is like it; read the file.")
    return "\n".join(lines)


def _around(before: str, after: str) -> str:
    return shortened(unified(printable(before), printable(after), context=2))
