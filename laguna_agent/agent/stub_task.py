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
from laguna_agent.agent.context.first_message import ShownFile, fenced
from laguna_agent.agent.line_repairs import composed
from laguna_agent.events import Reply
from laguna_agent.models.chat.fenced import code_grammar
from laguna_agent.models.chat.fenced_calls import FENCE
from laguna_agent.models.conversation import Completed, Completion
from laguna_agent.prompts.loader.pack import Pack
from laguna_agent.tools.code.languages import language_of
from laguna_agent.tools.code.stubs import stubs_in

_NOT_WRITTEN = re.compile(r"NotImplemented|not implemented|todo!|unimplemented!", re.IGNORECASE)
_WRITE = r"\b(?:implement|write|complete|finish|fill in)\b"
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_THE_ONE = re.compile(rf"{_WRITE}.*\b(?:function|method|body|stub|missing|it)\b", re.IGNORECASE)
_MORE = re.compile(
    r"\b(?:and|then|also|but|plus|after|before|commit|push|run|tests?|use[ds]?|using|change|rename"
    r"|remove|add|update|document|explain|replace|call|check)\b",
    re.IGNORECASE,
)
"""Words of tasks that may ask for more than a function."""


class StubTask(NamedTuple):
    """A function that is to be written."""

    path: str
    """Its file, as in the first message."""
    name: str
    """Empty where the language is not parsed for it."""
    text: str
    """The file up to its body."""
    only_defines: bool
    """Whether the file is a Python module that only defines things."""
    is_all: bool
    """Whether the task asks for nothing else."""


def stub_task(
    message: str, files: Sequence[ShownFile], named: Sequence[str], output: str | None = None
) -> StubTask | None:
    """The function that a message asks to write: the first that it names behind a word of writing,
    or the only one that is to be written in a file that it names. None in doubt.

    `files` were shown whole; `named` are the paths that the message names, and `output` is that of
    its check, which must fail since the function is not written."""
    if output is not None and not _NOT_WRITTEN.search(output):
        return None
    named = [path for path in named if not is_test_file(path)]
    sentences = [part for part in _SENTENCE.split(message) if part.strip()]
    for file in files:
        if named and file.path not in named:
            continue
        text = file.text.removeprefix("\ufeff").replace("\r\n", "\n")
        stubs = stubs_in(file.path, text)
        asked = [s for s in stubs if s.name and any(_asks_for(part, s.name) for part in sentences)]
        if not asked and len(stubs) == 1 and named and _THE_ONE.search(message):
            asked = stubs
        if not asked or len({stub.name for stub in stubs}) < len(stubs):
            continue
        first = asked[0]
        all_asked = len(asked) == len(stubs) and len(sentences) == 1
        rest = re.sub(r"`[^`\n]*`", "", message)
        is_all = all_asked and _MORE.search(rest.replace(first.name, "")) is None
        return StubTask(file.path, first.name, first.head, first.only_defines, is_all)
    return None


def _asks_for(sentence: str, name: str) -> bool:
    pattern = rf"{_WRITE}.*?(?<![\w/-]){re.escape(name)}(?![\w/-]|\.\w)"
    return re.search(pattern, sentence, re.IGNORECASE) is not None


def completion(pack: Pack, task: StubTask, message: str, max_tokens: int) -> Completion | None:
    """What the model is asked to go on from. None where a fence cannot hold it."""
    code = fenced(task.text, task.path)
    fence, _, end = code.rpartition("\n")
    if end != FENCE:
        return None
    language = language_of(task.path) or ""
    text = pack.text("complete.md", task=message, code=code, language=language.capitalize())
    grammar = code_grammar(f"{fence}\n", only_defines=task.only_defines)
    return Completion(text, f"{fence}\n", grammar, max_tokens)


def written_function(task: StubTask, answer: Completed, identifier: str) -> Reply:
    """The reply that writes the code of an answer; without a call where that was cut."""
    reply = Reply(finish_reason=answer.finish_reason, composed=True)
    code, closed, _ = answer.text.partition("\n")[2].rpartition(f"\n{FENCE}")
    if closed and answer.finish_reason == "stop":
        reply = composed("write", task.path, f"{code}\n", "")
        reply.tool_calls[0].id = identifier
    reply.usage, reply.seed = answer.usage, answer.sampling.seed
    reply.temperature = answer.sampling.temperature
    return reply
