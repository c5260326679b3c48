"""Repairs of one line: what the model would rather have in the code than what is there.

A small model that rewrites a file to correct it mostly copies the mistake too, and says that it is
somewhere else. But where it reads the code as an answer to the failing check, the other tokens that
it thinks likeliest point at the mistake. Each gives a change of one line, which costs a few tokens,
and the check tells whether it is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from laguna_agent.agent.context.first_message import ShownFile, fenced
from laguna_agent.agent.retries import CODE
from laguna_agent.events import ModelEvent, Reply, ToolCall, Usage
from laguna_agent.models.chat.parsing import new_call_id
from laguna_agent.models.conversation import Variation, WritesSideBySide
from laguna_agent.tools.code.languages import language_of, parse, strict_problem

if TYPE_CHECKING:
    from tree_sitter import Node

_LINES = 2
"""Lines that a repair may write; the second one shows where the text goes on."""
_LARGEST = 12_000
"""Characters of the files that are read again for it."""


async def line_repairs(
    conversation: WritesSideBySide,
    files: Sequence[ShownFile],
    tool: str,
    wanted: tuple[int, int],
    on_event: Callable[[ModelEvent], None],
) -> tuple[list[Reply], Usage]:
    """Replies that change one line of one of these files through `tool`, the likeliest first, and
    what it took to find them. `wanted` is how many likelier ones of each file were tried, and how
    many more to find."""
    code = [
        ShownFile(file.path, file.plain)
        for file in files
        if file.path.endswith(CODE) and file.text.strip()
    ]
    if not code or sum(len(file.text) for file in code) > _LARGEST:
        return [], Usage()
    total = Usage()
    found: list[list[Reply]] = []
    for file in code:
        fence = fenced(file.text, file.path)
        opening = f"{file.path}, corrected:\n{fence[: fence.index(chr(10)) + 1]}"
        variation = Variation(opening, file.text, *wanted, _LINES, list(_prose(file)))
        variations, usage = await conversation.variations(variation, on_event)
        total = total.plus(usage)
        texts = dict.fromkeys(spliced(file.text, text) for text in variations)
        fine = strict_problem(file.path, file.text) is None
        found.append(
            [
                _reply(tool, file, text)
                for text in texts
                if text != file.text and not (fine and strict_problem(file.path, text))
            ]
        )
    longest = max(map(len, found))
    return [some[n] for n in range(longest) for some in found if n < len(some)], total


def _lines(text: str) -> list[str]:
    """The lines with their ends. A form feed or a line separator within one does not end it."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def spliced(text: str, variation: str) -> str:
    """The text with the lines of a variation, which is cut after its new ones, in the place of
    those that they stand for. It ends as before."""
    result = _spliced(text, variation)
    return result if text.endswith("\n") else result.removesuffix("\n")


def _spliced(text: str, variation: str) -> str:
    lines, varied = _lines(text), _lines(variation)
    whole = [line for line in varied if line.endswith("\n")] or varied
    pairs = enumerate(zip(lines, whole, strict=False))
    first = next((n for n, (line, other) in pairs if line != other), None)
    if first is None:
        return text
    new, old = whole[first:], lines[first:]
    for written in range(len(new)):  # back in the text: a line is added, replaced, or left out
        for left_out in range(min(3, len(old))):
            same = new[written] == old[left_out] and new[written].strip()
            if same and (written or left_out):
                return "".join([*lines[:first], *new[:written], *old[left_out:]])
    return "".join([*lines[:first], new[0], *old[1:]])


def _prose(file: ShownFile) -> Iterator[tuple[int, int]]:
    """Ranges of bytes in a file that are comments and documentation."""
    language = language_of(file.path)
    if language is None:
        return
    waiting = [parse(language, file.text.encode()).root_node]
    while waiting:
        node = waiting.pop()
        if _is_prose(node):
            yield node.start_byte, node.end_byte
        else:
            waiting += node.children


def _is_prose(node: Node) -> bool:
    alone = node.type == "expression_statement" and node.child_count == 1
    return "comment" in node.type or (alone and node.children[0].type == "string")


def _reply(tool: str, file: ShownFile, text: str) -> Reply:
    """A reply that writes a file so."""
    old, new = _lines(file.text), _lines(text)
    pairs = enumerate(zip(old, new, strict=False), 1)
    number = next((n for n, (line, other) in pairs if line != other), len(new))
    line = new[number - 1].strip() if number <= len(new) else ""
    about = f"Line {number} of {file.path} may be wrong. It could be `{line}`."
    return composed(tool, file.path, text, about)


def composed(tool: str, path: str, text: str, about: str) -> Reply:
    """A reply that says something and writes a file, which the model did not write."""
    call = ToolCall(
        id=new_call_id(),
        name=tool,
        arguments={"path": path, "content": text},
        raw=f"### {tool} {path}\n{fenced(text, path)}",
    )
    return Reply(text=about, tool_calls=[call], finish_reason="tool_calls", composed=True)
