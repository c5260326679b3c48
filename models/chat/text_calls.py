"""Calls in the text of a whole reply, from servers that do not parse the calls of their model.

Each family of models writes calls in a form of its own, in tags or special tokens (`_FORMS`): such
a call is meant. JSON in a fence or on lines of its own (`trailing_calls`) may as well be shown to
explain something; whether it counts is for the caller to decide. Text in fences, back-ticks and
lines behind `>` is quoted and never a call in tags.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from laguna_agent.events import ToolCall
from laguna_agent.models.chat.argument_forms import gemma_arguments, python_calls
from laguna_agent.models.chat.call_parsers import (
    FUNCTION_TAGS,
    KEY_TAGS,
    TaggedParser,
    decode,
    malformed,
)
from laguna_agent.models.chat.loose_json import JsonScanner, call_of, clean, load_json
from laguna_agent.models.chat.parsing import new_call_id
from laguna_agent.models.chat.schema import properties_of
from laguna_agent.models.conversation import ToolSpec

_NAME = r"(?:functions\.)?(?P<name_{0}>[\w./-]+?)"
_FORMS = {
    # what begins a call, up to its arguments or to the object that is the call
    "arguments": {
        "llama": r"<function=" + _NAME + r">\s*(?=\{)",
        "kimi": r"<\|tool_call_begin\|>\s*" + _NAME + r"(?::\d+)?\s*<\|tool_call_argument_begin\|>",
        "deepseek": r"<[｜|]tool[▁_ ]call[▁_ ]begin[｜|]>(?:function<[｜|]tool[▁_ ]sep[｜|]>)?"
        + _NAME
        + r"(?:<[｜|]tool[▁_ ]sep[｜|]>|\s+(?=```|\{))(?:\s*```(?:json)?)?",
        "mistral": r"\[TOOL_CALLS\]\s*"
        + _NAME
        + r"\s*(?:\[CALL_ID\]\s*\w*\s*)?(?:\[ARGS\]\s*)?(?=\{)",
        "gpt_oss": r"(?:<\|start\|>assistant\s*)?(?:<\|channel\|>)?(?:commentary\s+)?to=functions\."
        + _NAME
        + r"\s*(?:<\|channel\|>commentary)?\s*(?:<\|constrain\|>)?\s*(?:json)?\s*"
        + r"(?:<\|message\|>)?\s*(?=\{)",
        "functionary": r"(?m:^)>>>" + _NAME + r"\s*\n(?=\{)",
        "solar": r"<\|tool_call:begin\|>[^<\n]*<\|tool_call:name\|>\s*"
        + _NAME
        + r"\s*<\|tool_call:args\|>\s*(?=\{)",
    },
    "object": {
        "hermes": r"<(?:tool_calls?|function_call|functioncall|tools|tool_use|TOOLCALL)>"
        r"\s*(?=[\[{])",
        "granite": r"<\|(?:tool_call|python_tag|function_call|tool_call_start|python_start"
        r"|START_ACTION|action_start\|>\s*<\|plugin)\|>\s*(?=\[?\s*\{)",
        "mistral_list": r"\[TOOL_CALLS\]\s*(?=[\[{])",
        "firefunction": r"(?<![\w.])functools(?=\[\s*\{\s*\")",
        "gigachat": r"function call<\|role_sep\|>\s*(?=\{)",
        "heading": r"(?m:^)###[ \t]+(?=\{\s*\"name\"\s*:\s*\"(?P<name_heading>[^\"\n]+)\")",
    },
    "named": {"apertus": r"<\|tools_prefix\|>\s*(?=\[)"},
    "python": {
        "lfm": r"<\|(?P<python_mark>tool_call|python)_start\|>\s*(?=\[?\s*[A-Za-z_][\w.]*\()",
        "olmo": r"<function_calls>\s*(?=\[?[A-Za-z_][\w.]*\()",
    },
    "gemma": {"gemma4": r"<\|tool_call>\s*call:" + _NAME + r"\s*(?=\{)"},
    "tags": {
        "qwen_coder": r"(?:<tool_call>\s*)?<function=",
        "glm": r"<tool_call>\s*(?=[\w./-]+\s*(?:<arg_key>|</tool_call>))",
        "hunyuan": r"<tool_call>\s*(?=[\w./-]+\s*<tool_sep>)",
    },
    "invoke": {
        "invoke": r"<(?P<mark>(?:[|｜‖]+DSML[|｜‖]+|\w+:)?(?:invoke|function))\s+"
        r"name=\"(?P<name_invoke>[^\"\n]+)\"\s*>"
    },
}
_TAGS = {
    "qwen_coder": replace(FUNCTION_TAGS, name=("", ">"), close=""),
    "glm": KEY_TAGS,
    "hunyuan": replace(KEY_TAGS, name=("", "<tool_sep>")),
}
_KIND = {form: kind for kind, forms in _FORMS.items() for form in forms}
_QUOTED = (
    r"```.*?(?:```|\Z)|(?m:^)[ \t]*~~~.*?(?:\n[ \t]*~~~|\Z)|`[^`\n]+`|(?m:^)[ \t]*>[ \t][^\n]*"
)
_NEXT = re.compile(
    f"(?P<quoted>{_QUOTED})|"
    + "|".join(
        f"(?P<{form}>{pattern.replace('{0}', form)})"
        for forms in _FORMS.values()
        for form, pattern in forms.items()
    ),
    re.DOTALL,
)
_END = re.compile(
    r"\s*(?:```\s*)?(?:</(?:tool_calls?|function|function_call|functioncall|tools|tool_use"
    r"|TOOLCALL)>|<[｜|]tool[▁_ ]call[▁_ ]end[｜|]>"
    r"|<\|(?:tool_call_end|tool_call:end|/tool_call|python_end|END_ACTION|action_end|tools_suffix"
    r"|call|end|eom_id)\|>|<tool_call\|>)\s*(?:</tool_calls?>)?"
)
_AROUND = re.compile(
    r"<\|tool_calls_section_(?:begin|end)\|>|<[｜|]tool[▁_ ]calls(?:[▁_ ](?:begin|end))?[｜|]>"
    r"|</?(?:[|｜‖]+DSML[|｜‖]+|\w+:)?(?:function_calls|tool_calls|calls|tool_call)>"
    r"|<\|start\|>assistant|<\|(?:START|END)_(?:ACTION|RESPONSE)\|>"
)
_PARAMETER = re.compile(
    r"<((?:[|｜‖]+DSML[|｜‖]+|\w+:)?param(?:eter)?)\s+name=\"([^\"\n]+)\"[^>]*>(.*?)</\1>",
    re.DOTALL,
)
_ELEMENT = re.compile(r"<([A-Za-z_][\w.-]*)>(.*?)</\1>", re.DOTALL)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_SPELT = re.compile(
    r"(</?(?:tool_calls?|tool_sep|arg_key|arg_value)):opensource>|\]<\]minimax\[>\["
)
"""What Hunyuan adds to its tags, and MiniMax M3 puts before each of its own."""
_CHANNEL = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>(analysis|final)\s*<\|message\|>"
    r"(.*?)(?=<\|start\|>|<\|channel\|>|<\|end\|>|<\|return\|>|\Z)(?:<\|end\|>|<\|return\|>)?",
    re.DOTALL,
)
_FENCE = re.compile(r"^```[\w-]{0,16}[ \t]*\n(.*)\n?^[ \t]*```[ \t]*\Z", re.DOTALL | re.MULTILINE)

CALL_MARKS = (
    "<tool_call>", "<function=", "<function_call>", "<functioncall>", "<tools>", "<tool_use>",
    "<|tool_call", "<|python_tag|>", "<｜tool", "[TOOL_CALLS]", "<|channel|>", "<|start|>",
    "commentary to=", "to=functions.", "<invoke", "<function_calls>", "<minimax:tool_call>",
    "<｜DSML｜", "<｜｜DSML", "<|DSML|", "<‖DSML", "<tool_calls", "<tool_call:", "<TOOLCALL>",
    "<function name=", "<|python_start|>", "<|START_ACTION|>", "<|action_start|>",
    "<|tools_prefix|>", "functools[", "]<]minimax[>[", "<|function_call|>",
    "function call<|role_sep|>", "<steptml:", "<atem:", "### {",
)  # fmt: skip
"""Texts with which calls in tags begin: what follows one is not shown before it is understood."""


@dataclass
class TextCalls:
    """The calls found, what to tell the model of those that cannot be read, and the other text."""

    text: str
    thinking: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def tagged_calls(text: str, tools: Sequence[ToolSpec], *, in_fence: bool) -> TextCalls:
    """The calls in tags or special tokens. A malformed one stays in the text.

    `in_fence`: a call also counts when the whole text is a fence around it.
    """
    thinking, text = _without_channels(text)
    text = _SPELT.sub(lambda match: f"{match[1]}>" if match[1] else "", text)
    fenced = _FENCE.fullmatch(text.strip()) if in_fence else None
    if fenced is not None and _NEXT.match(fenced.group(1).strip()):
        text = fenced.group(1).strip()
    found = TextCalls("", thinking)
    kept, at = [], 0
    while (match := _NEXT.search(text, at)) is not None:
        kept.append(text[at : match.start()])
        at = match.end()
        form = next((form for form in _KIND if match[form] is not None), None)
        if form is None:  # quoted
            kept.append(match.group())
            continue
        calls, error, end = _read(form, match, text, tools)
        for name, arguments in calls:
            found.calls.append(_call(name, arguments))
        if error:
            found.errors.append(error)
        if calls:
            at = end
            if ended := _END.match(text, at):
                at = ended.end()
        else:
            kept.append(match.group())
    kept.append(text[at:])
    found.text = "".join(kept)
    if found.calls:
        found.text = _AROUND.sub("", found.text)
    found.text = found.text.strip()
    return found


def trailing_calls(text: str, tools: Sequence[ToolSpec]) -> tuple[str, list[ToolCall]]:
    """(what comes before, the calls): calls of declared tools as JSON or as a list in Python, in
    fences or on lines of their own, with which a text ends."""
    calls: list[ToolCall] = []
    rest = text.rstrip()
    while rest:
        start, found = _last_call(rest, tools)
        if not found:
            break
        calls[:0] = found
        rest = rest[:start].rstrip()
    return rest, calls


# --- inside ---------------------------------------------------------------------------------

_Read = tuple[list[tuple[str, dict[str, Any]]], str | None, int]


def _read(form: str, match: re.Match[str], text: str, tools: Sequence[ToolSpec]) -> _Read:
    """(calls, error, where they end) of the form that `match` begins."""
    at = match.end()
    kind = _KIND[form]
    if kind == "tags":
        parser = TaggedParser(tools, _TAGS[form])
        _, rest, _ = parser.feed(text[at:], final=True)
        return parser.calls, parser.error, len(text) - len(rest)
    if kind == "invoke":
        return _read_invoke(match, text, tools)
    if kind in ("python", "gemma"):
        return _read_unquoted(form, match, text, tools)
    name = match[f"name_{form}"] if kind == "arguments" else None
    if form in ("functionary", "heading"):
        named = match[f"name_{form}"]
        if all(tool.name != named for tool in tools):
            return [], None, at  # a prompt of Python, or a heading
    try:
        values: list[Any] = []
        while not values or (kind == "object" and text[at:].lstrip().startswith("{")):
            value, at = _json_at(text, at)
            values += value if isinstance(value, list) else [value]
    except ValueError as error:
        return [], malformed(name, str(error)), at
    if name is not None:
        if not isinstance(values[0], dict):
            return [], malformed(name, "arguments must be one JSON object"), at
        return [(name, clean(values[0]))], None, at
    if kind == "named":  # {"read": {"path": "a.py"}}
        pairs = [pair for value in values if isinstance(value, dict) for pair in value.items()]
        values = [{"name": name, "arguments": arguments} for name, arguments in pairs]
    calls = [call for value in values if (call := call_of(value)) is not None]
    if len(calls) < len(values):
        problem = "it is not an object with `name` and `arguments`"
        return calls, malformed(None, problem), at
    return calls, None, at


def _read_invoke(match: re.Match[str], text: str, tools: Sequence[ToolSpec]) -> _Read:
    name, closer = match["name_invoke"], f"</{match['mark']}>"
    end = text.find(closer, match.end())
    if end < 0:
        return [], malformed(name, f"it has no {closer}"), match.end()
    tool = next((tool for tool in tools if tool.name == name), None)
    root = tool.parameters if tool is not None else {}
    schemas = {key: schema for key, schema, _ in properties_of(root)}
    arguments: dict[str, Any] = {}
    inside = text[match.end() : end]
    given = [found[1:] for found in _PARAMETER.findall(inside)] or _ELEMENT.findall(inside)
    for key, value in given:
        value = value.removeprefix("\n").removesuffix("\n")
        value = verbatim[1] if (verbatim := _CDATA.fullmatch(value)) else value
        try:
            arguments[key] = decode(value, schemas[key], root) if key in schemas else value
        except ValueError as error:
            return [], malformed(name, f"argument `{key}` {error}"), end + len(closer)
    return [(name, clean(arguments))], None, end + len(closer)


def _read_unquoted(form: str, match: re.Match[str], text: str, tools: Sequence[ToolSpec]) -> _Read:
    """Calls whose arguments are not JSON; they end with their tag, or with the text."""
    closer = {"olmo": "</function_calls>", "gemma4": "<tool_call|>"}.get(form)
    closer = closer or f"<|{match['python_mark']}_end|>"
    end = text.find(closer, match.end())
    end, after = (end, end + len(closer)) if end >= 0 else (len(text), len(text))
    inside = text[match.end() : end]
    name = match[f"name_{form}"] if form == "gemma4" else None
    try:
        if name is not None:
            return [(name, gemma_arguments(inside))], None, after
        return python_calls(inside, tools), None, after
    except ValueError as error:
        return [], malformed(name, str(error)), after


def _json_at(text: str, at: int) -> tuple[Any, int]:
    """(value, where it ends) of the JSON at a position. Raises ValueError."""
    at += len(text[at:]) - len(text[at:].lstrip())
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, at)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        size = JsonScanner().scan(text[at:])
        if size is None:
            raise ValueError("it was cut off before its end") from None
        return load_json(text[at : at + size]), at + size


def _without_channels(text: str) -> tuple[str, str]:
    """(thinking, text) of a reply in which the server left gpt-oss's channels."""
    if "<|channel|>" not in text:
        return "", text
    thoughts: list[str] = []

    def take(match: re.Match[str]) -> str:
        if match[1] == "final":
            return match[2]
        thoughts.append(match[2].strip())
        return ""

    text = _CHANNEL.sub(take, text)
    return "\n".join(thoughts), text


def _last_call(text: str, tools: Sequence[ToolSpec]) -> tuple[int, list[ToolCall]]:
    """(where it starts, the calls) of the last fence, JSON value or list, if it is calls."""
    names = frozenset(tool.name for tool in tools)
    if text.endswith("```"):
        start = max(
            (m.start() for m in re.finditer(r"(?m)^[ \t]*```[\w-]+[ \t]*$", text)), default=-1
        )
        if start < 0:
            start = text.rfind("```", 0, len(text) - 3)
        fence = text[start:].strip().strip("`") if start >= 0 else ""
        label, _, body = fence.partition("\n")
        if label.strip() == "tool_code":  # of Gemma 3
            return start, _python_calls_of(body, tools)
        found = _calls_of(body.strip(), names)
        return start, found or _python_calls_of(body if not label.strip() else "", tools)
    if text[-1] in "}]":
        for start in _line_starts(text):
            found = _calls_of(text[start:], names) or _python_calls_of(text[start:], tools)
            if found:
                return start, found
    return 0, []


def _line_starts(text: str) -> Iterator[int]:
    """Where objects or lists may begin at the start of a line, the last first; at most 200."""
    found = [match.end() - 1 for match in re.finditer(r"(?m)^[ \t]*[\[{]", text)]
    yield from reversed(found[-200:])


def _calls_of(text: str, names: frozenset[str]) -> list[ToolCall]:
    """The calls of declared tools that a text consists of; empty when there is anything else."""
    calls: list[ToolCall] = []
    at = 0
    while text[at:].strip():
        try:
            value, at = _json_at(text, at)
        except ValueError:
            return []
        for item in value if isinstance(value, list) else [value]:
            call = call_of(item)
            if call is None or call[0] not in names:
                return []
            calls.append(_call(*call))
    return calls


def _python_calls_of(text: str, tools: Sequence[ToolSpec]) -> list[ToolCall]:
    """The calls of declared tools that a text consists of, as Python; empty for anything else."""
    try:
        found = python_calls(text, tools)
    except ValueError:
        return []
    names = {tool.name for tool in tools}
    if any(name not in names for name, _ in found):
        return []
    return [_call(name, arguments) for name, arguments in found]


def _call(name: str, arguments: dict[str, Any]) -> ToolCall:
    raw = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(id=new_call_id(), name=name, arguments=arguments, raw=raw)
