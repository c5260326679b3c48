"""Grammars that hold tool calls to their declared schemas.

A style says how a call is written (JSON, or keys and values between tags); `call_grammar` makes
of the tools and the options of one reply what llama.cpp is given. Property order is that of the
declaration. `banned` calls are left out of the grammar as long as their arguments are strings,
whole numbers, booleans or null; `is_banned` tells of the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from laguna_agent.events import ToolCall
from laguna_agent.models.chat.chat_format import Grammar
from laguna_agent.models.chat.gbnf import Gbnf, choice, literal
from laguna_agent.models.chat.schema import (
    SPACE,
    InexpressibleError,
    JsonValues,
    properties_of,
    same_value,
    types_of,
)
from laguna_agent.models.conversation import GenerateOptions, ToolSpec

PREAMBLE_LIMIT = 600
"""Characters of free text before a call that must come. Small models derail when their natural
opening is forbidden, so there is room for a few sentences."""
MAX_CALLS = 8
"""Calls in one reply."""
_BAN_LIMIT = 6_000
"""Characters of banned arguments that a grammar may spell; longer ones are left to `is_banned`."""


class CallStyle(Protocol):
    """How one family of models writes a call."""

    separator: str
    """Expression between two calls, and allowed after the last one."""

    def call(self, grammar: Gbnf, name: str, arguments: str) -> str:
        """Expression of a whole call of `name`, given the expression of its arguments."""

    def argument(self, key: str, value: str, *, first: bool) -> str:
        """Expression of one argument."""

    def value(self, made: JsonValues, schema: Mapping[str, Any]) -> str:
        """Expression of the values of a schema. `made` gives those of JSON."""

    def exactly(self, value: Any) -> str:
        """Expression of this one value. Raises InexpressibleError if that cannot be."""

    def other_than(
        self, made: JsonValues, schema: Mapping[str, Any], values: Sequence[Any]
    ) -> str | None:
        """Expression of all values but these; None when there is no other."""


def is_banned(call: ToolCall, banned: Sequence[ToolCall]) -> bool:
    """True when `call` is the same as one of `banned`: same tool, equal arguments."""
    return any(
        call.name == other.name and same_value(call.arguments, other.arguments) for other in banned
    )


def expressible(banned: ToolCall, tool: ToolSpec) -> bool:
    """True when a grammar alone keeps the call from being made again."""
    size = len(json.dumps(banned.arguments, ensure_ascii=False, default=str))
    simple = all(
        value is None or isinstance(value, str | bool | int) for value in banned.arguments.values()
    )
    loose = any(
        "number" in types_of(schema, tool.parameters)
        for key, schema, _ in properties_of(tool.parameters)
        if key in banned.arguments
    )
    return simple and not loose and size <= _BAN_LIMIT


def offered(tools: Sequence[ToolSpec], options: GenerateOptions) -> list[ToolSpec]:
    """The tools that may be called in this reply."""
    return [tool for tool in tools if options.allowed is None or tool.name in options.allowed]


def call_grammar(
    tools: Sequence[ToolSpec],
    options: GenerateOptions,
    style: CallStyle,
    *,
    opener: str = "<tool_call>",
    thought_end: str | None = None,
    trigger_is_token: bool = True,
) -> Grammar | None:
    """The grammar of one reply, or None when nothing has to be held.

    `opener` is the text that begins a call. `thought_end` closes the thought that the reply
    begins in. With `auto` the grammar sleeps until the opener; with `required` it binds from the
    first token: a thought, some text, then at least one call.
    """
    if options.grammar is not None:
        return Grammar(options.grammar)
    callable_tools = offered(tools, options)
    if options.tool_choice == "none" or not callable_tools:
        return None
    grammar = Gbnf()
    calls = [_call(grammar, tool, options, style) for tool in callable_tools]
    possible = [call for call in calls if call is not None]
    if not possible:
        return None
    call = grammar.rule("call", "call", lambda: choice(possible))
    most = MAX_CALLS if options.max_calls is None else max(options.max_calls, 1)
    more = f"({style.separator} {call}){{0,{most - 1}}}" if most > 1 else ""
    root = f"{call} {more} {style.separator}"
    if options.tool_choice == "auto":
        return Grammar(
            grammar.source(root),
            lazy=True,
            trigger_tokens=(opener,) if trigger_is_token else (),
            trigger_patterns=() if trigger_is_token else (f"({_regex(opener)})",),
        )
    limit = PREAMBLE_LIMIT if options.text_limit is None else options.text_limit
    root = f"{grammar.text((opener,), 0, limit)} {root}"
    if thought_end is not None:
        thought = grammar.text((thought_end, opener), 0, options.text_limit)
        root = f"{thought} {literal(thought_end)} {root}"
    return Grammar(grammar.source(root))


def _regex(text: str) -> str:
    return "".join(f"\\{c}" if c in r".^$|()[]{}*+?\/" else c for c in text)


def _call(grammar: Gbnf, tool: ToolSpec, options: GenerateOptions, style: CallStyle) -> str | None:
    banned = [
        call.arguments
        for call in options.banned
        if call.name == tool.name and expressible(call, tool)
    ]
    try:
        arguments = _Arguments(grammar, tool, style, options.text_limit, banned).expression()
    except InexpressibleError:
        arguments = _Arguments(grammar, tool, style, options.text_limit, []).expression()
    if arguments is None:
        return None
    return style.call(grammar, tool.name, arguments)


class _Arguments:
    """The arguments of one tool, in declared order, optional ones left out at will.

    A state is the next property, whether one was written already, and which banned calls are
    still being spelled: a path along which one is spelled to its end does not exist.
    """

    def __init__(
        self,
        grammar: Gbnf,
        tool: ToolSpec,
        style: CallStyle,
        limit: int | None,
        banned: Sequence[Mapping[str, Any]],
    ) -> None:
        self._grammar, self._tool, self._style = grammar, tool, style
        self._values = JsonValues(grammar, tool.parameters, limit)
        self._banned = banned
        self._properties = properties_of(tool.parameters)

    def expression(self) -> str | None:
        declared = {key for key, _, _ in self._properties}
        live = [n for n, call in enumerate(self._banned) if set(call) <= declared]
        return self._from(0, True, frozenset(live))

    def _from(self, index: int, first: bool, live: frozenset[int]) -> str | None:
        if index == len(self._properties):
            return None if live else '""'
        alternatives = self._alternatives(index, first, live)
        if not alternatives:
            return None
        return self._grammar.rule(
            ("arguments", self._tool.name, index, first, live),
            f"{self._tool.name}-{self._properties[index][0]}",
            lambda: " | ".join(alternatives),
        )

    def _alternatives(self, index: int, first: bool, live: frozenset[int]) -> list[str]:
        key, schema, required = self._properties[index]
        found: list[str] = []

        def then(value: str, still: frozenset[int]) -> None:
            rest = self._from(index + 1, False, still)
            if rest is not None:
                found.append(f"{self._style.argument(key, value, first=first)} {rest}")

        spelled: list[Any] = []
        for number in sorted(live):
            if key in self._banned[number]:
                value = self._banned[number][key]
                if not any(same_value(value, other) for other in spelled):
                    spelled.append(value)
        if spelled:
            other = self._style.other_than(self._values, schema, spelled)
            if other is not None:
                then(other, frozenset())
            for value in spelled:
                same = frozenset(
                    n
                    for n in live
                    if key in self._banned[n] and same_value(self._banned[n][key], value)
                )
                then(self._style.exactly(value), same)
        else:
            then(self._style.value(self._values, schema), frozenset())
        if not required:
            without = frozenset(n for n in live if key not in self._banned[n])
            rest = self._from(index + 1, first, without)
            if rest is not None:
                found.append(rest)
        return found


class JsonCalls:
    """`<tool_call>{"name": …, "arguments": {…}}</tool_call>`, white space as in the examples."""

    separator = "[\\n]{0,2}"

    def __init__(self, opener: str = "<tool_call>", closer: str = "</tool_call>") -> None:
        self._opener, self._closer = opener, closer

    def call(self, grammar: Gbnf, name: str, arguments: str) -> str:
        """See CallStyle."""
        space = grammar.rule("space", "space", lambda: SPACE)
        head = f'"{{" {space} "\\"name\\"" {space} ":" {space} {literal(json.dumps(name))}'
        body = f'"," {space} "\\"arguments\\"" {space} ":" {space} "{{" {space} {arguments}'
        return (
            f'{literal(self._opener)} {space} {head} {space} {body} {space} "}}" {space} "}}" '
            f"{space} {literal(self._closer)}"
        )

    def argument(self, key: str, value: str, *, first: bool) -> str:
        """See CallStyle."""
        comma = "" if first else '"," space '
        return f'{comma}{literal(json.dumps(key, ensure_ascii=False))} space ":" space {value}'

    def value(self, made: JsonValues, schema: Mapping[str, Any]) -> str:
        """See CallStyle."""
        return made.value(schema)

    def exactly(self, value: Any) -> str:
        """See CallStyle."""
        return literal(json.dumps(value, ensure_ascii=False))

    def other_than(
        self, made: JsonValues, schema: Mapping[str, Any], values: Sequence[Any]
    ) -> str | None:
        """See CallStyle."""
        return made.other_than(schema, values)


class TaggedCalls:
    """Calls with a tag around each key and value; strings are raw text up to the closing tag.

    `name`, `key` and `value` are (before, after) pairs; `end` closes the call.
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

    def value(self, made: JsonValues, schema: Mapping[str, Any]) -> str:
        """See CallStyle."""
        if "string" not in made.types(schema):
            return made.value(schema)
        words = made.words(schema)
        if words is not None:
            return choice([literal(self._spell(word)) for word in words])
        low, high = made.string_bounds(schema)
        return made.grammar.text((self._terminator,), low, high)

    def exactly(self, value: Any) -> str:
        """See CallStyle."""
        return literal(self._spell(value))

    def other_than(
        self, made: JsonValues, schema: Mapping[str, Any], values: Sequence[Any]
    ) -> str | None:
        """See CallStyle."""
        if "string" not in made.types(schema):
            return made.other_than(schema, values)
        words = made.words(schema)
        if words is not None:
            left = [w for w in words if not any(same_value(w, value) for value in values)]
            return choice([literal(self._spell(word)) for word in left]) if left else None
        _, high = made.string_bounds(schema)
        return made.grammar.text_except((self._terminator,), map(self._spell, values), high)

    def _spell(self, value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if self._terminator in text + self._terminator[:-1]:
            raise InexpressibleError(text)
        return text
