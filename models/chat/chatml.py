"""ChatML turns, and the format that adds calls as JSON in <tool_call> tags (Qwen and relatives).

`ChatMLTurns` renders turns alone, for formats that declare tools in another way.
"""

from __future__ import annotations

from collections.abc import Sequence

from laguna_agent.events import FinishReason
from laguna_agent.models.chat.call_parsers import JsonParser
from laguna_agent.models.chat.chat_format import Grammar, ReplyParser, Segment
from laguna_agent.models.chat.grammar import JsonCalls, call_grammar
from laguna_agent.models.chat.parsing import ReplyShape, StreamParser, tool_json
from laguna_agent.models.chat.segments import SegmentWriter
from laguna_agent.models.conversation import GenerateOptions, Message, ToolSpec

START = "<|im_start|>"
END = "<|im_end|>"
MARKERS = (START, END, "<|endoftext|>", "<tool_call>", "</tool_call>", "<think>", "</think>")
"""Texts whose tokens content must not produce."""


class ChatMLTurns:
    """Turns between <|im_start|> and <|im_end|>: the format without calls."""

    def __init__(self, *, wrap_tool_results: bool = True) -> None:
        self._wrap = wrap_tool_results

    def system(self, text: str) -> list[Segment]:
        """The first turn; empty when the text is."""
        return self._turn(SegmentWriter(MARKERS), "system", text).segments() if text else []

    def messages(self, messages: Sequence[Message], *, after_reply: bool) -> list[Segment]:
        """Messages as an increment; consecutive tool results share a turn."""
        out = SegmentWriter(MARKERS)
        if after_reply:
            out.plain("\n")
        for at, message in enumerate(messages):
            if message.role != "tool" or not self._wrap:
                role = "user" if message.role == "tool" else message.role
                self._turn(out, role, message.content)
                continue
            if at == 0 or messages[at - 1].role != "tool":
                out.special(f"{START}user")
            out.plain("\n<tool_response>\n").content(message.content).plain("\n</tool_response>")
            if at + 1 == len(messages) or messages[at + 1].role != "tool":
                out.special(END).plain("\n")
        return out.segments()

    def generation(self) -> list[Segment]:
        """The text that opens the model's reply."""
        return [Segment(f"{START}assistant\n", special=True)]

    def close(self) -> list[Segment]:
        """The text that closes a reply without an end token of its own."""
        return [Segment(END, special=True)]

    @staticmethod
    def _turn(out: SegmentWriter, role: str, text: str) -> SegmentWriter:
        return out.special(f"{START}{role}").plain("\n").content(text).special(END).plain("\n")


class ChatMLFormat:
    """ChatML with JSON calls.

    `thinks`: the model writes a <think> block first (an empty one is fed when it must not).
    `native_tags`: <tool_call> is a single token of the model's vocabulary.
    """

    name = "chatml"
    template_notes: tuple[str, ...] = ()

    def __init__(self, *, thinks: bool = False, native_tags: bool = True) -> None:
        self.thinks = thinks
        self.native_tags = native_tags
        self.turns = ChatMLTurns()

    def render_start(self, system: str, tools: Sequence[ToolSpec]) -> list[Segment]:
        """See ChatFormat."""
        text = system.rstrip()
        if not tools:
            return self.turns.system(text)
        out = SegmentWriter(MARKERS)
        out.special(f"{START}system").plain("\n").content(f"{text}\n\n" if text else "")
        declare_tools(out, tools)
        return out.special(END).plain("\n").segments()

    def render_messages(self, messages: Sequence[Message], *, after_reply: bool) -> list[Segment]:
        """See ChatFormat."""
        return self.turns.messages(messages, after_reply=after_reply)

    def render_generation(self, options: GenerateOptions) -> list[Segment]:
        """See ChatFormat."""
        start = self.turns.generation()
        if not self.thinks:
            return start
        thought = "<think>\n" if options.thinking else "<think>\n\n</think>\n\n"
        return [*start, Segment(thought, special=True)]

    def render_close(self, reason: FinishReason) -> list[Segment]:
        """See ChatFormat."""
        return self.turns.close()

    def grammar(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> Grammar | None:
        """See ChatFormat."""
        return call_grammar(
            tools,
            options,
            JsonCalls(),
            thought_end="</think>" if self.thinks and options.thinking else None,
            trigger_is_token=self.native_tags,
        )

    def parser(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> ReplyParser:
        """See ChatFormat. Also parses calls that are bare or fenced JSON, for replies without a
        grammar."""
        return StreamParser(
            json_shape(tools, options, thinking=self.thinks and options.thinking, stops=(END,))
        )

    def stops(self) -> tuple[str, ...]:
        """The end spelled in ordinary tokens after a call; elsewhere the parser finds it."""
        return (f"</tool_call>{END}", f"</tool_call>\n{END}")

    def think_close(self) -> list[Segment]:
        """See ChatFormat."""
        return [Segment("\n</think>\n\n", special=True)] if self.thinks else []


def declare_tools(out: SegmentWriter, tools: Sequence[ToolSpec]) -> SegmentWriter:
    """Write the declarations and how to call, in the words that these models were trained on."""
    out.plain(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
    )
    for tool in tools:
        out.plain("\n").content(tool_json(tool.name, tool.description, tool.parameters))
    return out.special(
        "\n</tools>\n\nFor each function call, return a json object with function name and "
        "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    )


def json_shape(
    tools: Sequence[ToolSpec],
    options: GenerateOptions,
    *,
    thinking: bool,
    stops: tuple[str, ...],
) -> ReplyShape:
    """The shape of replies with JSON calls."""
    calls = options.tool_choice != "none" and bool(tools)
    return ReplyShape(
        call_parser=(lambda: JsonParser(tools)) if calls else None,
        names=frozenset(tool.name for tool in tools),
        call_begins=r'\s*\{\s*"name"\s*:\s*"([^"]*)"',
        starts_thinking=thinking,
        stops=stops,
        bare_json=True,
    )
