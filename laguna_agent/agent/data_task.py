"""Tasks to work something out from a data file, and write it to another one.

A small model adds up in its head, and is wrong. Asked for nothing but a script that does the task,
it writes one that is mostly right; laguna runs it as any other command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from laguna_agent.agent.context.first_message import DATA, ShownFile, fenced
from laguna_agent.events import Reply, ToolCall
from laguna_agent.models.chat.fenced import code_grammar, code_in
from laguna_agent.models.chat.fenced_calls import FENCE
from laguna_agent.models.chat.parsing import new_call_id
from laguna_agent.models.conversation import Completed, Completion
from laguna_agent.prompts.loader.pack import Pack

_COMPUTES = re.compile(
    r"\b(?:sums?|totals?|averages?|means?|medians?|counts?|number of|how many|most|fewest|least"
    r"|largest|smallest|highest|lowest|longest|shortest|maximum|minimum|distinct|unique|sorted"
    r"|group(?:ed)?)\b",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"\b(?:functions?|class(?:es)?|scripts?|programs?|tests?|code|commands?|options?|flags?)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"\s*\"?[^\W\d][\w .-]*\"?\s*")
"""A name of a column."""
_SUFFIXES = (*DATA, ".json")
_SHOWN = 1_200
"""Characters of a data file that the model reads."""
_MOST_WORDS = 12
"""Words of a line whose numbers the model is told."""
_LONGEST = 500
"""Tokens of a script."""


class DataTask(NamedTuple):
    """What is to be worked out."""

    files: list[ShownFile]
    target: str


def data_task(
    message: str, files: Sequence[ShownFile], named: Sequence[str], to_be_made: Sequence[str]
) -> DataTask | None:
    """What a message asks to work out from data files that it names; None in doubt.

    `files` hold what is known of their texts, from the beginning; the file to write is the only one
    that the message names and that is not there."""
    known = {file.path: file for file in files}
    plain = len(to_be_made) == 1 and to_be_made[0].endswith(_SUFFIXES)
    about = bool(named) and all(p.endswith(_SUFFIXES) and p in known for p in named)
    if not plain or not about or not _COMPUTES.search(message) or _CODE.search(message):
        return None
    return DataTask([known[path] for path in named], to_be_made[0])


def script(pack: Pack, task: DataTask, message: str) -> Completion:
    """What the model is asked to write."""
    heads = "\n\n".join(map(_told, task.files))
    text = pack.text("script.md", task=message, data=heads)
    reading = _reading(task.files[0]) if len(task.files) == 1 else ""
    begins = f"{FENCE}python\n{reading}"
    return Completion(text, begins, code_grammar(begins, only_defines=False), _LONGEST)


def _reading(file: ShownFile) -> str:
    """How a script begins that reads a file: a small model splits lines at commas."""
    path = repr(file.path)
    match file.path.rpartition(".")[2]:
        case "csv" | "tsv" as kind:
            tabs = ', delimiter="\\t"' if kind == "tsv" else ""
            names = file.text.partition("\n")[0].replace("\t", ",").split(",")
            reader = "DictReader" if all(map(_NAME.fullmatch, names)) else "reader"
            return (
                f"import csv\nimport json\n\nwith open({path}, newline='') as file:\n"
                f"    rows = list(csv.{reader}(file{tabs}))\n"
            )
        case "json":
            return f"import json\n\nwith open({path}) as file:\n    data = json.load(file)\n"
        case "jsonl" | "ndjson":
            return (
                f"import json\n\nwith open({path}) as file:\n"
                "    rows = [json.loads(line) for line in file if line.strip()]\n"
            )
    return (
        f"import json\nimport re\n\nwith open({path}) as file:\n"
        "    lines = file.read().splitlines()\n"
    )


def _told(file: ShownFile) -> str:
    """What the model reads of a file: how it begins, and of plain lines the numbers of words."""
    told = f"{file.path} begins so:\n{fenced(_head(file.text), file.path)}"
    words = file.text.partition("\n")[0].split()
    if file.path.endswith((".csv", ".tsv", ".json", ".jsonl", ".ndjson")):
        return told
    if not 1 < len(words) <= _MOST_WORDS:
        return told
    numbered = ", ".join(f"[{n}] is {word}" for n, word in enumerate(words))
    return f"{told}\nOf lines[0].split(), {numbered}."


def _head(text: str) -> str:
    head = text[:_SHOWN]
    return head if len(head) == len(text) else head.rpartition("\n")[0]


def run_of(answer: Completed) -> Reply | None:
    """The reply that runs the script of an answer; None where it was cut."""
    code = code_in(answer)
    if code is None or "EOF" in code:
        return None
    reply = run_command(f"python3 - <<'EOF'\n{code.strip()}\nEOF")
    reply.usage, reply.seed = answer.usage, answer.sampling.seed
    reply.temperature = answer.sampling.temperature
    return reply


def run_command(command: str) -> Reply:
    """A reply that runs a command, which the model did not write."""
    call = ToolCall(
        id=new_call_id(), name="shell", arguments={"command": command}, raw=f"### shell {command}"
    )
    return Reply(tool_calls=[call], finish_reason="tool_calls", composed=True)
