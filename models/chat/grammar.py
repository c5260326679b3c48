"""Grammars that hold tool calls to their declared schemas.

A style says how a call is written (JSON, or keys and values between tags); `call_grammar` builds
the grammar of one reply for llama.cpp from the tools and the options. Arguments come in the
order of their declaration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from laguna_agent.models.chat.chat_format import Grammar
from laguna_agent.models.chat.gbnf import Gbnf, choice, literal
from laguna_agent.models.chat.schema import SPACE, JsonValues, properties_of
from laguna_agent.models.conversation import GenerateOptions, ToolSpec

OPENER, CLOSER = "<tool_call>", "</tool_call>"
PREAMBLE_LIMIT = 600
"""Characters of free text before a required call. Small models derail when their natural opening
is forbidden, so there is room for a few sentences."""
MAX_CALLS = 8
"""Calls in one reply."""


class CallStyle(Protocol):
    """How one family of models writes a call."""

    separator: str
    """Expression between two calls, and allowed after the last one."""

    def call(self, grammar: Gbnf, name: str, arguments: str) -> str:
        """Expression of a whole call of `name`, given the expression of its arguments."""

    def argument(self, key: str, value: str, *, first: bool) -> str:
        """Expression of one argument."""

    def value(self, values: JsonValues, schema: Mapping[str, Any]) -> str:
        """Expression of the values of a schema. `values` gives their JSON expressions."""


def offered(tools: Sequence[ToolSpec], options: GenerateOptions) -> list[ToolSpec]:
    """The tools that may be called in this reply."""
    return [tool for tool in tools if options.allowed is None or tool.name in options.allowed]


def call_grammar(
    tools: Sequence[ToolSpec],
    options: GenerateOptions,
    style: CallStyle,
    *,
    thought_end: str | None = None,
    trigger_is_token: bool = True,
) -> Grammar | None:
    """The grammar of one reply; None when there is nothing to enforce.

    `thought_end` closes the thought that the reply begins in. With `auto` the grammar sleeps
    until a call opens; with `required` it applies from the first token: a thought, some text,
    then at least one call. `trigger_is_token` says that the opener is one token of the model.
    """
    if options.grammar is not None:
        return Grammar(options.grammar)
    callable_tools = offered(tools, options)
    if options.tool_choice == "none" or not callable_tools:
        return None
    grammar = Gbnf()
    calls = [_call(grammar, _narrowed(tool, options), style) for tool in callable_tools]
    call = grammar.rule("call", "call", lambda: choice(calls))
    root = f"{call} ({style.separator} {call}){{0,{MAX_CALLS - 1}}} {style.separator}"
    if options.tool_choice == "auto":
        return Grammar(
            grammar.source(root),
            lazy=True,
            trigger_tokens=(OPENER,) if trigger_is_token else (),
            trigger_patterns=() if trigger_is_token else (f"({OPENER})",),
        )
    root = f"{grammar.text((OPENER,), 0, PREAMBLE_LIMIT)} {root}"
    if thought_end is not None:
        root = f"{grammar.text((thought_end, OPENER))} {literal(thought_end)} {root}"
    return Grammar(grammar.source(root))


def _narrowed(tool: ToolSpec, options: GenerateOptions) -> ToolSpec:
    """A tool with the schema that holds for this reply."""
    narrow = options.parameters.get(tool.name)
    return tool if narrow is None else tool.model_copy(update={"parameters": dict(narrow)})


def _call(grammar: Gbnf, tool: ToolSpec, style: CallStyle) -> str:
    """The expression of a call, in one of the forms that its schema has."""
    forms = tool.parameters.get("oneOf") or [tool.parameters]
    written = [
        style.call(grammar, tool.name, _arguments(grammar, tool.name, number, form, style))
        for number, form in enumerate(forms)
    ]
    return choice(written)


def _arguments(
    grammar: Gbnf, tool: str, form: int, parameters: Mapping[str, Any], style: CallStyle
) -> str:
    """The expression of arguments: in declared order, optional ones left out at will."""
    values = JsonValues(grammar, parameters)
    properties = properties_of(parameters)

    def arguments(index: int, first: bool) -> str:
        if index == len(properties):
            return '""'
        key, schema, required = properties[index]

        def body() -> str:
            argument = style.argument(key, style.value(values, schema), first=first)
            given = f"{argument} {arguments(index + 1, False)}"
            return given if required else f"{given} | {arguments(index + 1, first)}"

        return grammar.rule(("arguments", tool, form, index, first), f"{tool}-{key}", body)

    return arguments(0, True)


class JsonCalls:
    """`<tool_call>{"name": …, "arguments": {…}}</tool_call>`, spaced as in the examples."""

    separator = "[\\n]{0,2}"

    def call(self, grammar: Gbnf, name: str, arguments: str) -> str:
        """See CallStyle."""
        space = grammar.rule("space", "space", lambda: SPACE)
        head = f'"{{" {space} "\\"name\\"" {space} ":" {space} {literal(json.dumps(name))}'
        body = f'"," {space} "\\"arguments\\"" {space} ":" {space} "{{" {space} {arguments}'
        return (
            f'{literal(OPENER)} {space} {head} {space} {body} {space} "}}" {space} "}}" '
            f"{space} {literal(CLOSER)}"
        )

    def argument(self, key: str, value: str, *, first: bool) -> str:
        """See CallStyle."""
        comma = "" if first else '"," space '
        return f'{comma}{literal(json.dumps(key, ensure_ascii=False))} space ":" space {value}'

    def value(self, values: JsonValues, schema: Mapping[str, Any]) -> str:
        """See CallStyle."""
        return values.value(schema)


class TaggedCalls:
    """Calls with tags around each key and value; strings are raw text up to the closing tag.

    `name`, `key` and `value` are (before, after) pairs; `end` closes the call. `terminator` is the
    text that ends a string.
    """

    def __init__(
        self,
        *,
        name: tuple[str, str],
        key: tuple[str, str],
        value: tuple[str, str],
        end: str,
        terminator: str,
        separator: str,
    ) -> None:
        self._name, self._key, self._value = name, key, value
        self._end, self._terminator = end, terminator
        self.separator = separator

    def call(self, grammar: Gbnf, name: str, arguments: str) -> str:
        """See CallStyle."""
        head = literal(self._name[0] + name + self._name[1])
        return f"{head} {arguments} {literal(self._end)}"

    def argument(self, key: str, value: str, *, first: bool) -> str:
        """See CallStyle."""
        head = literal(self._key[0] + key + self._key[1] + self._value[0])
        return f"{head} {value} {literal(self._value[1])}"

    def value(self, values: JsonValues, schema: Mapping[str, Any]) -> str:
        """See CallStyle."""
        if "string" not in values.types(schema):
            return values.value(schema)
        allowed = values.allowed_values(schema)
        if allowed is not None:
            return choice([literal(_spell(value)) for value in allowed])
        low, high = values.string_bounds(schema)
        return values.grammar.text((self._terminator,), low, high)


def _spell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
