"""What edit and write share: the planned change, the rule of the hash, and carrying it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from laguna_agent.actions import Action, ReadPath, WritePath
from laguna_agent.tools.code.languages import strict_problem, syntax_problem
from laguna_agent.tools.files import read_state, storage
from laguna_agent.tools.files.diffs import counts, shortened, unified
from laguna_agent.tools.files.encoding import (
    Document,
    EncodingError,
    binary_kind,
    decode,
    printable,
)
from laguna_agent.tools.files.workspace import PathError, Place, locate, read_bytes
from laguna_agent.tools.output import numbered
from laguna_agent.tools.tool import ToolContext, ToolResult

_REFUSED = "files.refused"
_HEAD_CHARS = 4_000


class RefusalError(Exception):
    """A change that is not made; the message is for the model.

    `shown` is the file whose present content the message shows (all of it, if `whole`), and
    which the model knows from then on.
    """

    def __init__(
        self,
        message: str,
        summary: str = "",
        *,
        shown: tuple[Place, bytes] | None = None,
        whole: bool = False,
    ) -> None:
        super().__init__(message)
        self.summary = summary
        self.shown = shown
        self.whole = whole


@dataclass
class Plan:
    """A change of one file. `old` is None when the file is created."""

    place: Place
    old: Document | None
    new: Document
    notes: list[str]
    whole: bool = False
    """True when the model gave the whole content, and so knows all of it."""

    @property
    def diff(self) -> str:
        """The unified diff, as an approval shows it."""
        before = printable(self.old.text) if self.old else ""
        return unified(before, printable(self.new.text), self.place.label)


def current(place: Place) -> tuple[Document, bytes]:
    """The file to change. Raises PathError for what is no text."""
    data = read_bytes(place, storage.FILE_LIMIT + 1)
    document = decode(data)
    if document is None:
        raise PathError(f"{place.label} is a {binary_kind(data)}; it was not changed.")
    return document, data


def check_hash(context: ToolContext, place: Place, document: Document, data: bytes) -> None:
    """Raises RefusalError, showing what changed, when the file is not what was last read."""
    known = read_state.recall(context, place)
    if known is None or known.hash == read_state.digest(data):
        return
    before = decode(known.data) if known.data is not None else None
    lines = document.text.split("\n")
    if before is not None:
        diff = unified(printable(before.text), printable(document.text), context=2)
        shown = shortened(diff) or "(only line ends or encoding changed)"
    else:
        shown = head(lines)
    raise RefusalError(
        f"{place.label} was changed by something else since you read it; nothing was written. "
        f"What changed:\n{shown}\nIf your change is still right, make it again.",
        "the file changed since it was read",
        shown=(place, data),
    )


def refused(refusal: RefusalError, context: ToolContext) -> ToolResult:
    """The result of a refusal, and note of what it showed. After that the same call may be right,
    which `data` says."""
    if refusal.shown is not None:
        read_state.note(context, *refusal.shown, whole=refusal.whole)
    data = {"again": True} if refusal.shown is not None else {}
    return ToolResult(ok=False, content=str(refusal), summary=refusal.summary, data=data)


def head(lines: list[str]) -> str:
    """The beginning of a file, numbered."""
    kept, room = [], _HEAD_CHARS
    for line in lines:
        room -= min(len(line), 400) + 6
        if room < 0:
            break
        kept.append(printable(line))
    more = len(lines) - len(kept)
    return numbered(kept, 1) + (f"\n[… {more} more lines]" if more else "")


def actions(
    make: Callable[[], Plan], raw_path: str, context: ToolContext, call: BaseModel
) -> list[Action]:
    """What the policy is asked: the file is read and written, with the diff as a preview.

    A call that would be refused only reads. It is remembered, so that a file which changes
    between this question and the run cannot turn it into a write that nobody was asked about.
    """
    refused: set[str] = context.state.setdefault(_REFUSED, set())
    key = f"{type(call).__name__}{call.model_dump_json()}"
    try:
        plan = make()
    except (RefusalError, PathError, OSError):  # it may be moved while it is looked at
        refused.add(key)
        try:
            return [ReadPath(path=str(locate(context, raw_path, guess=True).path))]
        except (PathError, OSError):
            return []
    refused.discard(key)
    path = str(plan.place.path)
    read: list[Action] = [ReadPath(path=path)] if plan.old is not None else []
    return [*read, WritePath(path=path, diff=plan.diff)]


def run(make: Callable[[], Plan], verb: str, context: ToolContext, call: BaseModel) -> ToolResult:
    """Plan the change afresh and carry it out. `verb` says what is done to a file that exists."""
    storage.recover(context)
    try:
        plan = make()
        check_asked(context, call)
        done = "Created" if plan.old is None else verb
        return carry_out(plan, context, f"{done} {plan.place.label}")
    except (PathError, OSError) as error:
        return ToolResult(ok=False, content=str(error))
    except RefusalError as refusal:
        return refused(refusal, context)


def check_asked(context: ToolContext, call: BaseModel) -> None:
    """Raises RefusalError when the policy was asked about this call while it could not be done."""
    refused: set[str] = context.state.setdefault(_REFUSED, set())
    key = f"{type(call).__name__}{call.model_dump_json()}"
    if key in refused:
        refused.discard(key)
        raise RefusalError("the file changed just now; nothing was written. Make the change again.")


def carry_out(plan: Plan, context: ToolContext, done: str) -> ToolResult:
    """Write the file and say what was done, with a small diff and whether it still parses."""
    place = plan.place
    try:
        data = plan.new.encode()
    except EncodingError as error:
        raise RefusalError(f"{place.label} was not changed: {error}.") from None
    if plan.old is None:
        storage.create_file(place, data)
    else:
        storage.replace_file(context, place, data, expected=plan.old.encode())
    read_state.note(context, place, data, whole=plan.whole)
    diff = plan.diff
    added, removed = counts(diff)
    lines = [*([place.note] if place.note else []), f"{done} (+{added} -{removed})."]
    lines += plan.notes
    lines += _parse_note(plan)
    if plan.old is not None and diff:
        small = unified(printable(plan.old.text), printable(plan.new.text), context=2)
        lines.append(shortened(small))
    return ToolResult(
        ok=True,
        content="\n".join(lines),
        summary=f"{place.label} +{added} -{removed}",
        diff=diff,
        files_changed=[place.relative],
    )


def _parse_note(plan: Plan) -> list[str]:
    label = plan.place.relative
    check = syntax_problem if plan.old is None else strict_problem
    problem = check(label, plan.new.text)
    if problem is None:
        return []
    if plan.old is not None and check(label, plan.old.text) is not None:
        return []  # it did not parse before either
    source = plan.new.text.split("\n")
    near = range(max(1, problem.line - 2), min(len(source), problem.line + 2) + 1)
    shown = numbered([source[i - 1] for i in near], near.start)
    verb = "does not parse" if plan.old is None else "no longer parses"
    return [
        f"WARNING: {label} {verb}; line {problem.line}: {problem.message}. Fix it:\n{shown}",
    ]
