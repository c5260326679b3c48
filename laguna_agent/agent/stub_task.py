"""Tasks to write a function whose head and documentation are there.

A small model writes a function better as the answer to nothing but its head than in a turn with
tools and files: of 62 functions of HumanEval 44 were right at the first try instead of 35. And the
head, which it would copy, is read in a fraction of the time that writing it takes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from laguna_agent.agent.check.detection import is_test_file
from laguna_agent.agent.check.task_marks import sentences_of
from laguna_agent.agent.context.first_message import ShownFile, fenced
from laguna_agent.agent.line_repairs import composed
from laguna_agent.events import Reply
from laguna_agent.models.chat.fenced import code_grammar, code_in
from laguna_agent.models.chat.fenced_calls import FENCE
from laguna_agent.models.conversation import Completed, Completion
from laguna_agent.prompts.loader.pack import Pack
from laguna_agent.tools.code.languages import language_of
from laguna_agent.tools.code.names import with_imports
from laguna_agent.tools.code.stubs import Stub, stubs_in

_NOT_WRITTEN = re.compile(
    r"NotImplemented|not (?:yet )?implemented|todo|UnsupportedOperation", re.IGNORECASE
)
_WRITE = r"\b(?:implement|write|complete|finish|fill\s+in)"
_FILLERS = r"(?:(?:the|a|an|only|missing|function|method|stub|body|of|for)\s+)*"
_THE_ONE = re.compile(
    rf"{_WRITE}\s+(?:the|this|its)\s+(?:missing\s+|only\s+)?(?:function|method|body|stub)"
    r"\s*(?:(?:in|as|so|there|of)\b|[.,;:]|$)",
    re.IGNORECASE,
)
_NOT = re.compile(r"\b(?:not|never|leave|without|instead|except)\b|n['’]t\b", re.IGNORECASE)
_OWNER = re.compile(r"\b(?:of|in|to)\s+(?:the\s+)?(?:class\s+)?[`'\"]?([A-Z]\w*)\b(?!\.\w)")
_HARMLESS = re.compile(
    r"please|write|implement|complete|finish|fill|in|the|this|its?|missing|only|function|method|stub"
    r"|body|of|class|as|documentation|doc(?:s|string)?|comments?|above|sa(?:ys?|id)|describe[sd]"
    r"|specified|there|file|module|according|to|an?",
    re.IGNORECASE,
)
"""Words of tasks that ask for nothing but a function."""


class StubTask(NamedTuple):
    """A function that is to be written."""

    path: str
    """Its file, as in the first message."""
    stub: Stub
    is_all: bool
    """Whether the task asks for nothing else."""


def stub_task(
    message: str, files: Sequence[ShownFile], named: Sequence[str], output: str | None = None
) -> StubTask | None:
    """The function that a message asks to write: that it names right behind a word of writing, or
    the only one that is to be written in a file that it names. None in doubt.

    `files` were shown whole; `named` are the paths that the message names, and `output` is that of
    its check, which must fail since the function is not written."""
    if output is not None and not _NOT_WRITTEN.search(output):
        return None
    named = [path for path in named if not is_test_file(path)]
    sentences = sentences_of(message)
    for file in files:
        if (named and file.path not in named) or is_test_file(file.path):
            continue
        stubs = stubs_in(file.path, file.plain)
        asked = [stub for stub in stubs if any(_asks_for(part, stub) for part in sentences)]
        one = len(stubs) == 1 and named and _THE_ONE.search(message) and not _NOT.search(message)
        if not asked and one:
            asked = stubs
        if len(asked) != 1:
            continue
        stub = asked[0]
        known = {stub.name, stub.owner, *re.findall(r"\w+", file.path)}
        rest = set(re.findall(r"[\w'’]+", message)) - known
        is_all = len(stubs) == 1 and all(map(_HARMLESS.fullmatch, rest))
        return StubTask(file.path, stub, is_all)
    return None


def _asks_for(sentence: str, stub: Stub) -> bool:
    """Whether a sentence asks to write a stub, by its name."""
    name = rf"[`'\"]?(?:(\w+)\.)?{re.escape(stub.name)}(?![\w/-]|\.\w)"
    found = re.search(rf"{_WRITE}\s+{_FILLERS}{name}", sentence, re.IGNORECASE)
    if found is None or _NOT.search(sentence):
        return False
    owners = {found[1], *_OWNER.findall(sentence[found.end() :])} - {None}
    return not owners or stub.owner in owners


def completion(pack: Pack, task: StubTask, message: str, max_tokens: int) -> Completion | None:
    """What the model is asked to go on from. None where a fence cannot hold it."""
    code = fenced(task.stub.head, task.path)
    fence, _, end = code.rpartition("\n")
    if end != FENCE:
        return None
    language = language_of(task.path) or ""
    text = pack.text("complete.md", task=message, code=code, language=language.capitalize())
    grammar = code_grammar(f"{fence}\n", only_defines=task.stub.only_defines)
    return Completion(text, f"{fence}\n", grammar, max_tokens)


def written_function(task: StubTask, answer: Completed, identifier: str) -> Reply:
    """The reply that writes the code of an answer; without a call where that was cut."""
    reply = Reply(finish_reason=answer.finish_reason, composed=True)
    code = code_in(answer)
    text = task.stub.with_body(task.path, code) if code is not None else None
    if text is not None:
        reply = composed("write", task.path, with_imports(task.path, text), "")
        reply.tool_calls[0].id = identifier
    reply.usage, reply.seed = answer.usage, answer.sampling.seed
    reply.temperature = answer.sampling.temperature
    return reply
