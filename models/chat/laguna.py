"""The format of poolside's Laguna models: tagged turns, calls with a tag around each argument.

Only 〈|EOS|〉, <think>, </think>, <assistant>, </assistant>, <tool_call>, </tool_call> are single
tokens; <user>, <system> and <tool_response> are ordinary text. Templates v4 and v5 put newlines
inside turns and calls and explain calls in the system prompt; v8 does neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from laguna_agent.events import FinishReason
from laguna_agent.models.chat.call_parsers import TaggedParser, Tags
from laguna_agent.models.chat.chat_format import Grammar, ReplyParser, Segment
from laguna_agent.models.chat.grammar import TaggedCalls, call_grammar
from laguna_agent.models.chat.parsing import ReplyShape, StreamParser, tool_json
from laguna_agent.models.chat.segments import SegmentWriter
from laguna_agent.models.conversation import GenerateOptions, Message, ToolSpec

Version = Literal["v4", "v5", "v8"]

BEGIN = "〈|EOS|〉"
END = "</assistant>"
TAGS = Tags(
    name=("", ""),
    key=("<arg_key>", "</arg_key>"),
    value=("<arg_value>", "</arg_value>"),
    end="</tool_call>",
)
MARKERS = (
    BEGIN,
    "<assistant>",
    END,
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<user>",
    "</user>",
    "<system>",
    "</system>",
    "<tool_response>",
    "</tool_response>",
)
"""Texts whose tokens content must not produce."""

_CALL_EXAMPLE = (
    "<tool_call>function-name\n<arg_key>argument-key</arg_key>\n"
    "<arg_value>value-of-argument-key</arg_value>\n</tool_call>"
)
_HOW_TO_CALL = (
    "For each function call, return an unescaped XML-like object with function name and "
    "arguments within '<tool_call>' and '</tool_call>' tags, like here:\n"
)
_HOW_TO_THINK = (
    "Wrap your thinking in '<think>', '</think>' tags, followed by a function call. "
    + _HOW_TO_CALL
    + "<think> your thoughts here </think>\n"
)


def version_of(template: str | None) -> Version:
    """The version named in a template's first comment; v5 when it names none."""
    comment = re.match(r"\s*\{#(.*?)#\}", template or "", re.DOTALL)
    found = re.search(r"_v(\d+)\b", comment.group(1)) if comment else None
    number = int(found.group(1)) if found else 5
    return "v8" if number >= 8 else "v5" if number >= 5 else "v4"


class LagunaFormat:
    """The format of Laguna.

    `thinking` is for the static prefix, the only place where v4 and v5 explain it; it does not
    follow each reply's option, since the prefix never changes. By default off in v4 and v5, on in
    v8.
    """

    name = "laguna"
    template_notes: tuple[str, ...] = ()

    def __init__(self, version: Version = "v4", *, thinking: bool | None = None) -> None:
        self.version = version
        self.thinking = version == "v8" if thinking is None else thinking
        self._newline = "" if version == "v8" else "\n"
        line = self._newline
        self._style = TaggedCalls(
            name=("<tool_call>", line),
            key=("<arg_key>", "</arg_key>" + line),
            value=("<arg_value>", "</arg_value>" + line),
            end="</tool_call>",
            terminator="</arg_value>",
            separator="[\\n]{0,2}" if line else '""',
        )

    def render_start(self, system: str, tools: Sequence[ToolSpec]) -> list[Segment]:
        """See ChatFormat."""
        out = self._writer().special(BEGIN)
        system = system.rstrip()
        listed = "".join(tool_json(t.name, t.description, t.parameters) + "\n" for t in tools)
        may_call = (
            "### Tools\n\nYou may call functions to assist with the user query.\n"
            "All available function signatures are listed below:\n<available_tools>\n"
        )
        if self.version == "v8":
            if system or tools or self.thinking:
                out.plain("<system>").content(system)
                if tools:
                    out.plain(("\n\n" if system else "") + may_call).content(listed)
                    out.plain("</available_tools>")
                out.plain("</system>\n")
        elif system or tools:
            out.plain("<system>\n")
            if system:
                out.plain("\n").content(system)
            if tools:
                out.plain("\n\n" + may_call).content(listed).plain("</available_tools>\n\n")
                how = _HOW_TO_THINK if self.thinking else _HOW_TO_CALL
                out.special(how + _CALL_EXAMPLE)
            out.plain("\n</system>\n")
        return out.segments()

    def render_messages(self, messages: Sequence[Message], *, after_reply: bool) -> list[Segment]:
        """See ChatFormat."""
        out = self._writer()
        line = self._newline
        if after_reply:
            out.plain("\n")
        for message in messages:
            if message.role == "assistant":
                text = message.content.strip() if line else message.content
                out.special("<assistant>" + line)
                if self.version == "v8" and self.thinking:
                    out.special("<think>")
                out.special("</think>").plain(line)
                if text:
                    out.content(text).plain(line)
                out.special(END).plain("\n")
            else:
                tag = "tool_response" if message.role == "tool" else message.role
                out.plain(f"<{tag}>{line}").content(message.content).plain(f"{line}</{tag}>\n")
        return out.segments()

    def render_generation(self, options: GenerateOptions) -> list[Segment]:
        """See ChatFormat."""
        thought = "<think>" if options.thinking else "</think>"
        return [Segment(f"<assistant>{self._newline}{thought}", special=True)]

    def render_close(self, reason: FinishReason) -> list[Segment]:
        """See ChatFormat."""
        return [Segment(END, special=True)]

    def grammar(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> Grammar | None:
        """See ChatFormat."""
        thought_end = "</think>" if options.thinking else None
        return call_grammar(tools, options, self._style, thought_end=thought_end)

    def parser(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> ReplyParser:
        """See ChatFormat."""
        calls = options.tool_choice != "none" and bool(tools)
        return StreamParser(
            ReplyShape(
                call_parser=(lambda: TaggedParser(tools, TAGS, stops=(END,))) if calls else None,
                names=frozenset(tool.name for tool in tools),
                starts_thinking=options.thinking,
                stops=(END,),
            )
        )

    def stops(self) -> tuple[str, ...]:
        """The end spelled in ordinary tokens after a call. Elsewhere it may be part of a file
        that is being written; see the parser's `complete`."""
        return ("</tool_call></assistant>", "</tool_call>\n</assistant>")

    def think_close(self) -> list[Segment]:
        """See ChatFormat."""
        return [Segment(f"{self._newline}</think>{self._newline}", special=True)]

    def _writer(self) -> SegmentWriter:
        return SegmentWriter(MARKERS)
