"""What edit and write share: planning a change, checking the file's hash, and applying it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from laguna_agent.actions import Action, ReadPath, WritePath
from laguna_agent.tools.code.languages import strict_problem, syntax_problem
from laguna_agent.tools.code.names import new_problems
from laguna_agent.tools.editor_buffers import as_edited, written_by_editor
from laguna_agent.tools.files import decided, read_state, storage
from laguna_agent.tools.files.diffs import changed_line_counts, shortened, unified
from laguna_agent.tools.files.encoding import (
    Document,
    EncodingError,
    binary_kind,
    decode,
    printable,
    printable_name,
)
from laguna_agent.tools.files.workspace import PathError, WorkspacePath, read_bytes, resolve_path
from laguna_agent.tools.output import numbered
from laguna_agent.tools.tool import ToolContext, ToolResult

_HEAD_CHARS = 4_000


class ChangeRefusedError(Exception):
    """The change is refused; the message is for the model.

    `shown` is the file whose current content the message shows (all of it if `whole`), so that the
    model has read it.
    """

    def __init__(
        self,
        message: str,
        summary: str = "",
        *,
        shown: tuple[WorkspacePath, bytes] | None = None,
        whole: bool = False,
    ) -> None:
        super().__init__(message)
        self.summary = summary
        self.shown = shown
        self.whole = whole


@dataclass
class FileChange:
    """A change of one file. `old` is None if the file is created."""

    target: WorkspacePath
    old: Document | None
    new: Document
    notes: list[str]
    whole: bool = False
    """True if the model wrote the whole content, and so knows all of it."""
    told: bool = False
    """True if the notes say all that changed: the result then has no diff, which small models copy
    in their next reply."""

    @property
    def diff(self) -> str:
        """The unified diff, as shown for approval."""
        before = printable(self.old.text) if self.old else ""
        return unified(before, printable(self.new.text), self.target.label)


def read_document(context: ToolContext, target: WorkspacePath) -> tuple[Document, bytes]:
    """The file to change, as an editor has it. Raises PathError if it is not text."""
    data = as_edited(context, target, read_bytes(target, storage.FILE_LIMIT + 1))
    document = decode(data)
    if document is None:
        raise PathError(f"{target.label} is a {binary_kind(data)}; it was not changed.")
    return document, data


def check_unchanged(
    context: ToolContext, target: WorkspacePath, document: Document, data: bytes
) -> None:
    """Raises ChangeRefusedError, showing the difference, if the file changed since it was read."""
    known = read_state.known_state(context, target)
    if known is None or known.hash == read_state.digest(data):
        return
    before = decode(known.data) if known.data is not None else None
    lines = document.text.split("\n")
    if before is not None:
        diff = unified(printable(before.text), printable(document.text), context=2)
        shown = shortened(diff) or "(only line endings or encoding changed)"
    else:
        shown = numbered_head(lines)
    raise ChangeRefusedError(
        f"{target.label} changed on disk since you read it; nothing was written. "
        f"What changed:\n{shown}\nIf your change is still right, make it again.",
        "the file changed since it was read",
        shown=(target, data),
    )


def refusal_result(refusal: ChangeRefusedError, context: ToolContext) -> ToolResult:
    """The result of a refusal. Records what it showed; `data` says if the same call may succeed
    after that."""
    if refusal.shown is not None:
        read_state.record_written(context, *refusal.shown, whole=refusal.whole)
    data = {"again": True} if refusal.shown is not None else {}
    return ToolResult(ok=False, content=str(refusal), summary=refusal.summary, data=data)


def numbered_head(lines: list[str]) -> str:
    """The beginning of a file, with line numbers."""
    kept, room = [], _HEAD_CHARS
    for line in lines:
        room -= min(len(line), 400) + 6
        if room < 0:
            break
        kept.append(printable(line))
    more = len(lines) - len(kept)
    return numbered(kept, 1) + (f"\n[… {more} more lines]" if more else "")


def actions(
    make_change: Callable[[], FileChange], raw_path: str, context: ToolContext, call: BaseModel
) -> list[Action]:
    """The actions for the policy: reading and writing the file, with the diff as a preview.

    What was planned is recorded, so that a file that changes before the run can turn neither a
    refusal nor an approved change into one that was never shown.
    """
    try:
        change = make_change()
    except (ChangeRefusedError, PathError, OSError):  # the file may move meanwhile
        decided.record(context, call, "refused")
        try:
            return [ReadPath(path=str(resolve_path(context, raw_path, guess=True).path))]
        except (PathError, OSError):
            return []
    decided.record(context, call, *_planned(change))
    path = str(change.target.path)
    read: list[Action] = [ReadPath(path=path)] if change.old is not None else []
    return [*read, WritePath(path=path, diff=change.diff)]


def _planned(change: FileChange) -> tuple[str | None, ...]:
    """The file, and digests of its content before and after."""
    texts = [change.old.text if change.old else None, change.new.text]
    digests = [
        text if text is None else read_state.digest(text.encode("utf-8", "surrogatepass"))
        for text in texts
    ]
    return (str(change.target.path), *digests)


def run(
    make_change: Callable[[], FileChange], verb: str, context: ToolContext, call: BaseModel
) -> ToolResult:
    """Plan the change again and apply it, if it is the one that was decided about. `verb` names
    what happens to an existing file."""
    storage.recover(context)
    try:
        change = make_change()
        decided.check(context, call, *_planned(change))
        done = "Created" if change.old is None else verb
        return apply(change, context, f"{done} {printable_name(change.target.label)}")
    except (PathError, OSError) as error:
        return ToolResult(ok=False, content=str(error))
    except ChangeRefusedError as refusal:
        return refusal_result(refusal, context)


def apply(change: FileChange, context: ToolContext, done: str) -> ToolResult:
    """Write the file and report it, with a short diff and whether it still parses and
    uses no undefined names. `data` says if it is as the call has it and nothing is wrong in it, and
    if it was left broken."""
    target = change.target
    try:
        data = change.new.encode()
    except EncodingError as error:
        raise ChangeRefusedError(f"{target.label} was not changed: {error}.") from None
    if change.old is None:
        storage.create_file(target, data)
    elif not written_by_editor(context, target, change.old, change.new):
        storage.replace_file(context, target, data, expected=change.old.encode())
    read_state.record_written(context, target, data, whole=change.whole)
    diff = change.diff
    added, removed = changed_line_counts(diff)
    lines = [*([target.note] if target.note else []), f"{done} (+{added} -{removed})."]
    warnings, faulty = _warnings(change)
    lines += [*change.notes, *warnings]
    if change.old is not None and diff and not change.told:
        small = unified(printable(change.old.text), printable(change.new.text), context=2)
        lines.append(shortened(small))
    return ToolResult(
        ok=True,
        content="\n".join(lines),
        summary=f"{target.label} +{added} -{removed}",
        diff=diff,
        files_changed=[target.relative],
        data={"complete": not (change.notes or warnings), "faulty": faulty},
    )


def _warnings(change: FileChange) -> tuple[list[str], bool]:
    """What a change made wrong, and whether it is more than something unused."""
    label = change.target.relative
    check = syntax_problem if change.old is None else strict_problem
    problem = check(label, change.new.text)
    if problem is None:
        problems = new_problems(label, change.old.text if change.old else "", change.new.text)
        undefined = any("undefined" in text for text in problems)
        return [f"WARNING: {label}, {text}." for text in problems], undefined
    if change.old is not None and check(label, change.old.text) is not None:
        return [], False  # it did not parse before either
    source = change.new.text.split("\n")
    near = range(max(1, problem.line - 2), min(len(source), problem.line + 2) + 1)
    shown = numbered([source[i - 1] for i in near], near.start)
    verb = "does not parse" if change.old is None else "no longer parses"
    what = f"line {problem.line}: {problem.message}"
    return [f"WARNING: {label} {verb}; {what}. Fix it:\n{shown}"], True
