"""Runs a model file's Jinja chat template in a sandbox, and learns its turn markers.

The increment of a message is found by rendering a conversation with and without it, with a
placeholder as its content, so that the marks around the content can be told from it.
"""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from laguna_agent.errors import ModelError

Messages = Sequence[Mapping[str, Any]]

_USER, _REPLY, _SYSTEM = "laguna-mark-user", "laguna-mark-reply", "laguna-mark-system"
"""Placeholders that occur in no template."""


class _Generation(Extension):
    """`{% generation %}` marks a model's text, for training; here it does nothing."""

    tags = {"generation"}  # noqa: RUF012 - Jinja reads a plain set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled template. `render` returns None when the template refuses the conversation."""

    def __init__(self, source: str, *, model_name: str, bos: str = "", eos: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _date
        self._constants = {"bos_token": bos, "eos_token": eos}
        self._template: Template
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ModelError(
                f"the chat template of {model_name} cannot be read: {error}",
                hint="Choose another chat format for this model, such as `chatml`.",
            ) from error

    def render(
        self,
        messages: Messages,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        reply: bool = False,
        thinking: bool = False,
    ) -> str | None:
        """The text of a conversation; with `reply`, including the start of the next reply."""
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                tools=tools or None,
                add_generation_prompt=reply,
                enable_thinking=thinking,
                **self._constants,
            )
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError, RecursionError):
            return None


def _to_json(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _refuse(message: str) -> str:
    raise TemplateError(message)


def _date(form: str) -> str:
    # A date in the static prefix would invalidate the cache every day.
    return datetime.date(2025, 1, 1).strftime(form)


def user(text: str) -> dict[str, Any]:
    """A user's message."""
    return {"role": "user", "content": text}


@dataclass
class Marks:
    """The texts that a template puts around turns. All are format text."""

    before_user: str
    after_user: str
    end: str
    """Ends a reply; usually the model's end token."""
    after_reply: str
    """Between the end of a reply and the next turn."""
    reply_start: dict[bool, str]
    """Starts a reply, without and with thinking."""
    notes: list[str] = field(default_factory=list)

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts whose tokens content must not produce."""
        texts = (self.before_user, self.after_user, self.end, *self.reply_start.values())
        return tuple({text.strip() for text in texts if len(text.strip()) > 2}) or ("\0",)


def learn(template: ChatTemplate, *, thinking: bool = False) -> Marks:
    """The marks of a template; plain headings, with a note, when they cannot be derived."""
    answered = [user(_USER), {"role": "assistant", "content": _REPLY}]
    again = f"{_USER}-again"
    one = template.render([user(_USER)], thinking=thinking)
    two = template.render(answered, thinking=thinking)
    three = template.render([*answered, user(again)], thinking=thinking)
    if one is None or two is None or _USER not in one or _REPLY not in two:
        return Marks(
            "### User:\n",
            "\n",
            "",
            "\n",
            {False: "### Assistant:\n", True: "### Assistant:\n"},
            ["the template cannot render a plain conversation, so turns get headings"],
        )
    between = two[two.index(_USER) + len(_USER) : two.index(_REPLY)]
    after_user = _shared(one.partition(_USER)[2], between)
    closing = two.partition(_REPLY)[2]
    notes = []
    if three is None or _REPLY not in three or again not in three:
        before_user = one.partition(_USER)[0]
        notes.append("the template refuses a second user turn, so all are written like the first")
    else:
        middle = three[three.index(_REPLY) + len(_REPLY) : three.index(again)]
        closing = _shared(closing, middle)
        before_user = middle[len(closing) :]
        if not three.startswith(two):
            notes.append(
                "the template is not append-only, so turns go between marks learned from it"
            )
    end = closing.strip()
    after_reply = closing[closing.index(end) + len(end) :] if end else closing
    starts = {}
    for thinks in (False, True):
        text = template.render([user(_USER)], reply=True, thinking=thinks) or ""
        rest = text.partition(_USER)[2]
        fits = _USER in text and rest.startswith(after_user)
        starts[thinks] = (rest if fits else between)[len(after_user) :]
    return Marks(before_user, after_user, end, after_reply, starts, notes)


def _shared(one: str, other: str) -> str:
    """The common prefix of two texts, not ending inside a `<…>` or `[…]`."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    shared = "".join(character for character, _ in pairs)
    if shared not in (one, other):
        for left, right in ("<>", "[]"):
            if shared.rfind(left) > shared.rfind(right):
                shared = shared[: shared.rfind(left)]
    return shared


def defuse(value: Any, markers: Sequence[str]) -> Any:
    """A JSON value whose strings spell no marker: declarations are part of format text."""
    if isinstance(value, str):
        for marker in markers:
            value = value.replace(marker, f"{marker[0]} {marker[1:]}")
        return value
    if isinstance(value, list):
        return [defuse(item, markers) for item in value]
    if isinstance(value, Mapping):
        return {key: defuse(item, markers) for key, item in value.items()}
    return value


def start_of(
    template: ChatTemplate,
    marks: Marks,
    *,
    system: bool,
    tools: Sequence[Mapping[str, Any]] | None,
    thinking: bool,
) -> tuple[str, str] | None:
    """The texts around the system text before the first user turn.

    None when the template has no place for a system text before the user turn.
    """
    messages = [{"role": "system", "content": _SYSTEM}, user(_USER)] if system else [user(_USER)]
    text = template.render(messages, tools=tools, thinking=thinking)
    if text is None or _USER not in text:
        return None
    before = text[: text.index(_USER)]
    if not before.endswith(marks.before_user):
        return None
    before = before[: len(before) - len(marks.before_user)]
    if not system:
        return before, ""
    head, found, tail = before.partition(_SYSTEM)
    return (head, tail) if found else None


def increment_of(
    template: ChatTemplate, marks: Marks, roles: Sequence[str], tools: Sequence[Mapping[str, Any]]
) -> list[str] | None:
    """The texts around the messages that follow a reply: one more than there are messages.

    The first does not include `marks.after_reply`. None when the template refuses the messages or
    would change the text before them.
    """
    name = tools[0]["function"]["name"] if tools else "tool"
    reply: dict[str, Any] = {"role": "assistant", "content": _REPLY}
    results = 0
    while results < len(roles) and roles[results] == "tool":
        results += 1
    if results:
        reply["tool_calls"] = [
            {"id": f"{n:09d}", "type": "function", "function": {"name": name, "arguments": {}}}
            for n in range(results)
        ]
    placeholders = [f"laguna-mark-{n:04d}" for n in range(len(roles))]
    messages = [
        {"role": role, "content": mark, "name": name, "tool_call_id": f"{n:09d}"}
        if role == "tool"
        else {"role": role, "content": mark}
        for n, (role, mark) in enumerate(zip(roles, placeholders, strict=True))
    ]
    before = template.render([user(_USER), reply], tools=tools)
    after = template.render([user(_USER), reply, *messages], tools=tools)
    if before is None or after is None or not after.startswith(before):
        return None
    rest = after[len(before) :]
    pieces = []
    for mark in placeholders:
        piece, found, rest = rest.partition(mark)
        if not found:
            return None
        pieces.append(piece)
    return [*pieces, rest]
