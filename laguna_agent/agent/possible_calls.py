"""What a small model may call in its next reply: only what can bring something new.

In a repository of a few files the grammar knows them all. It lets the model read those that it has
not seen as they are, and of which it has not been shown the part that matters, and write nothing
that the check puts back. A tool that has nothing left to do is not offered.
"""

from __future__ import annotations

from collections.abc import Sequence

from laguna_agent.agent.context.first_message import DATA
from laguna_agent.agent.context.task_kind import TaskKind
from laguna_agent.agent.retries import Retries
from laguna_agent.agent.services import Services
from laguna_agent.tools.files import read_state
from laguna_agent.tools.files.encoding import decode, printable_name
from laguna_agent.tools.files.walk import walk
from laguna_agent.tools.files.workspace import PathError, read_bytes, resolve_path
from laguna_agent.tools.tool import ToolContext

MOST_FILES = 100
"""Files up to which the grammar holds calls to them."""
_MOST_BYTES = 1 << 20


def possible_calls(
    services: Services,
    retries: Retries,
    *,
    kind: TaskKind,
    may_end: bool,
    only: tuple[str, Sequence[str]] | None = None,
    refused: bool = False,
    answer_file: str | None = None,
) -> tuple[list[str] | None, dict[str, dict[str, str]]]:
    """The tools for the next reply (None is all), and by tool the files that it may take.

    Without `may_end` there is something to do before `done`; `only` is the one tool that is of use,
    and what it may write. With `refused` a file was not written. An answer is written to the
    `answer_file`, and what is to be fixed is in a file that is there."""
    allowed = retries.allowed_tools()
    if not services.pack.manifest.check_after_change or services.conversation.info.remote:
        return allowed, {}
    if allowed is not None and retries.tests_file is not None:
        return ["write"], {"write": {retries.tests_file: ""}}
    if allowed is not None:
        texts = {file.path: file.plain for file in retries.shown.files}
        return allowed, dict.fromkeys(allowed, _free(texts, retries))
    context = services.tool_context
    below = context.start.relative_to(context.workspace).as_posix()
    entries = list(walk(context.workspace, below, limit=MOST_FILES + 1))
    if len(entries) > MOST_FILES:
        return None, {}
    paths = [context.shown(entry.relative) for entry in entries]
    seen = {path: text_as_seen(context, path) for path in paths if printable_name(path) == path}
    shown = retries.shown
    parts = {part.path for part in shown.parts if part.last}
    parts = set() if refused else parts  # as what it writes was not read whole
    unread = {path: "" for path, text in seen.items() if text is None and path not in parts}
    free = _free({path: text or "" for path, text in seen.items()}, retries)
    files = {"read": unread, "edit": free}
    if answer_file is not None:
        files["write"] = {answer_file: ""}
    elif kind == "fix" and free and shown.paths:  # what is to be fixed is there, and no data
        about_data = all(path.endswith(DATA) for path in shown.named)
        data = shown.named if about_data else []
        code = {p: t for p, t in free.items() if not p.endswith(DATA) or p in data}
        files["write"] = (code or free) | dict.fromkeys(shown.to_be_made, "")
    if shown.mentions and not set(shown.named) & set(unread):
        files["read"] = {}  # the lines that matter were shown
    if only is not None and only[0] in services.tools:
        tool, targets = only
        return [tool], {tool: {p: free.get(p, "") for p in targets}} if targets else {}
    offered = [name for name in services.tools if name not in files or files[name]]
    if not may_end and "done" in offered:
        offered.remove("done")
    return offered, files


def _free(texts: dict[str, str], retries: Retries) -> dict[str, str]:
    """The files that may be changed."""
    return {path: text for path, text in texts.items() if not retries.is_protected(path)}


def text_as_seen(context: ToolContext, path: str) -> str | None:
    """The text of a file that the model has seen whole, and that has not changed since: as an edit
    compares it, without a byte order mark and with plain line ends."""
    try:
        target = resolve_path(context, path)
        known = read_state.known_state(context, target)
        if known is None or not known.whole:
            return None
        data = read_bytes(target, _MOST_BYTES)
    except PathError:
        return None
    if read_state.digest(data) != known.hash:
        return None
    document = decode(data)
    return document.text if document else ""
