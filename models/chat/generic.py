"""The format of any other model, through its file's own Jinja chat template.

Templates render whole conversations; `template` derives increments from them. Where one is
not append-only (it drops old thoughts, moves the system text, refuses a role), the message goes
between the marks learned from the template, and `template_notes` says so. Nothing depends on
what was rendered before, so conversations can be forked and rewound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from laguna_agent.events import FinishReason
from laguna_agent.models.chat.call_parsers import FUNCTION_TAGS, KEY_TAGS, TaggedParser, Tags
from laguna_agent.models.chat.chat_format import Grammar, ReplyParser, Segment
from laguna_agent.models.chat.chatml import declare_tools, json_shape
from laguna_agent.models.chat.grammar import CallStyle, JsonCalls, TaggedCalls, call_grammar
from laguna_agent.models.chat.parsing import ReplyShape, StreamParser
from laguna_agent.models.chat.segments import SegmentWriter, text_of
from laguna_agent.models.chat.template import ChatTemplate, defuse, increment_of, learn, start_of
from laguna_agent.models.conversation import GenerateOptions, Message, ToolSpec

_FUNCTION_STYLE = TaggedCalls(
    name=("<tool_call>\n<function=", ">\n"),
    key=("<parameter=", ">\n"),
    value=("", "\n</parameter>\n"),
    end="</function>\n</tool_call>",
    terminator="\n</parameter>",
    separator="[\\n]{0,2}",
)
_KEY_STYLE = TaggedCalls(
    name=("<tool_call>", "\n"),
    key=("<arg_key>", "</arg_key>\n"),
    value=("<arg_value>", "</arg_value>\n"),
    end="</tool_call>",
    terminator="</arg_value>",
    separator="[\\n]{0,2}",
)
_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"


class GenericFormat:
    """The format that a model's own template gives.

    `bos` and `eos` are the texts of the file's special tokens, which templates write themselves.
    `template_notes` grows with each departure from the template. Raises ModelError when the
    template cannot be read at all.
    """

    name = "generic"

    def __init__(
        self,
        template: str,
        *,
        model_name: str,
        thinking: bool | None = None,
        bos: str = "",
        eos: str = "",
    ) -> None:
        self._template = ChatTemplate(template, model_name=model_name, bos=bos, eos=eos)
        self._marks = learn(self._template, thinking=bool(thinking))
        self.template_notes = list(self._marks.notes)
        self._thinking = bool(thinking)
        self._thinks = _THINK_CLOSE in template
        self._tags: Tags | None = None
        self._style: CallStyle = JsonCalls()
        if "<tool_call>" in template and "<function=" in template:
            self._tags, self._style = FUNCTION_TAGS, _FUNCTION_STYLE
        elif "<tool_call>" in template and "<arg_key>" in template:
            self._tags, self._style = KEY_TAGS, _KEY_STYLE
        self._shows_calls = "<tool_call>" in template
        self._declared: list[dict[str, Any]] = []
        self._increments: dict[tuple[str, ...], list[str] | None] = {}

    def render_start(self, system: str, tools: Sequence[ToolSpec]) -> list[Segment]:
        """See ChatFormat."""
        marks, text = self._marks, system.rstrip()
        self._declared = [
            {"type": "function", "function": defuse(tool.model_dump(), marks.markers)}
            for tool in tools
        ]
        if tools and not (self._shows_calls and self._declares(bool(text))):
            # a template without a known form of calls: the system text teaches one
            self._note(
                "the template shows no known form of calls, so the system prompt teaches one"
            )
            self._tags, self._style, self._declared = None, JsonCalls(), []
            declared = text_of(declare_tools(SegmentWriter(marks.markers), tools).segments())
            text = f"{text}\n\n{declared}".strip()
        around = self._start(bool(text))
        out = SegmentWriter(marks.markers)
        if around is not None:
            out.special(around[0]).content(text).special(around[1])
            return out.segments()
        bare = self._start(False)
        out.special(bare[0] if bare is not None else "")
        if text:
            self._note(
                "the template has no system text, so the system prompt is the first user turn"
            )
            out.special(marks.before_user).content(text).special(marks.after_user)
            out.special(marks.reply_start[False]).plain("Understood.")
            out.special(marks.end + marks.after_reply)
        return out.segments()

    def render_messages(self, messages: Sequence[Message], *, after_reply: bool) -> list[Segment]:
        """See ChatFormat."""
        out = SegmentWriter(self._marks.markers)
        if after_reply:
            out.special(self._marks.after_reply)
        for around, content in self._around(messages):
            out.special(around[0]).content(content).special(around[1])
        return out.segments()

    def render_generation(self, options: GenerateOptions) -> list[Segment]:
        """See ChatFormat."""
        return [Segment(self._reply_start(options), special=True)]

    def render_close(self, reason: FinishReason) -> list[Segment]:
        """See ChatFormat."""
        return [Segment(self._marks.end, special=True)] if self._marks.end else []

    def grammar(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> Grammar | None:
        """See ChatFormat."""
        thought_end = _THINK_CLOSE if self._starts_thinking(options) else None
        return call_grammar(
            tools, options, self._style, thought_end=thought_end, trigger_is_token=False
        )

    def parser(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> ReplyParser:
        """See ChatFormat."""
        thinking, tags, stops = self._starts_thinking(options), self._tags, self._ends()
        if tags is None:
            return StreamParser(json_shape(tools, options, thinking=thinking, stops=stops))
        calls = options.tool_choice != "none" and bool(tools)
        begins = r"\s*<function=([^>\n]+)>" if tags.name[0] else ReplyShape.call_begins
        return StreamParser(
            ReplyShape(
                call_parser=(lambda: TaggedParser(tools, tags, stops=stops)) if calls else None,
                names=frozenset(tool.name for tool in tools),
                call_begins=begins,
                starts_thinking=thinking,
                stops=stops,
            )
        )

    def stops(self) -> tuple[str, ...]:
        """The end spelled in ordinary tokens after a call; elsewhere the parser finds it."""
        return tuple(f"</tool_call>{gap}{end}" for end in self._ends() for gap in ("", "\n"))

    def think_close(self) -> list[Segment]:
        """See ChatFormat."""
        return [Segment(f"\n{_THINK_CLOSE}\n\n", special=True)] if self._thinks else []

    def _ends(self) -> tuple[str, ...]:
        return (self._marks.end,) if len(self._marks.end) > 2 else ()

    def _reply_start(self, options: GenerateOptions) -> str:
        start = self._marks.reply_start[options.thinking]
        if self._thinks and options.thinking and _THINK_OPEN not in start:
            start += f"{_THINK_OPEN}\n"
        return start

    def _starts_thinking(self, options: GenerateOptions) -> bool:
        start = self._reply_start(options)
        return start.rfind(_THINK_OPEN) > start.rfind(_THINK_CLOSE)

    def _declares(self, system: bool) -> bool:
        """True when the template writes the tools before the first turn."""
        around = self._start(system)
        if around is None and system and not self._start_without_tools(system):
            around = self._start(False)
        shown = "".join(around or ())
        return all(tool["function"]["name"] in shown for tool in self._declared)

    def _start_without_tools(self, system: bool) -> bool:
        return (
            start_of(
                self._template, self._marks, system=system, tools=None, thinking=self._thinking
            )
            is not None
        )

    def _start(self, system: bool) -> tuple[str, str] | None:
        return start_of(
            self._template,
            self._marks,
            system=system,
            tools=self._declared,
            thinking=self._thinking,
        )

    def _around(self, messages: Sequence[Message]) -> list[tuple[tuple[str, str], str]]:
        """The texts around each message, and its content."""
        contents = [message.content for message in messages]
        roles = tuple(message.role for message in messages)
        if roles not in self._increments:
            self._increments[roles] = increment_of(
                self._template, self._marks, roles, self._declared
            )
        pieces = self._increments[roles]
        if pieces is not None:
            around = [(piece, "") for piece in pieces[:-1]]
            if around:
                around[-1] = (around[-1][0], pieces[-1])
            return list(zip(around, contents, strict=True))
        self._note("the template refuses some turns, so they are written as user turns")
        marks = self._marks
        found = []
        for message in messages:
            before, after = marks.before_user, marks.after_user
            if message.role == "assistant":
                before, after = marks.reply_start[False], marks.end + marks.after_reply
            elif message.role == "tool":
                before, after = f"{before}<tool_response>\n", f"\n</tool_response>{after}"
            found.append(((before, after), message.content))
        return found

    def _note(self, text: str) -> None:
        if text not in self.template_notes:
            self.template_notes.append(text)
