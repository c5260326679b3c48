"""Replies are parsed the same way whatever the chunk boundaries, and bad ones never raise."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laguna_agent.events import TextDelta, ThinkingDelta, ToolCallDelta
from laguna_agent.models.chat.chat_format import ChatFormat, Parsed, ParserEvent
from laguna_agent.models.chat.chatml import ChatMLFormat
from laguna_agent.models.chat.laguna import LagunaFormat
from laguna_agent.models.conversation import GenerateOptions, ToolSpec

WRITE = ToolSpec(
    name="write",
    description="Write a file.",
    parameters={
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "content": {"type": "string"},
            "mode": {"type": "integer"},
            "lines": {"type": "array", "items": {"type": "integer"}},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "force": {"type": "boolean"},
        },
        "required": ["path", "content"],
    },
)
DONE = ToolSpec(name="done", description="End.", parameters={"type": "object", "properties": {}})
TOOLS = [WRITE, DONE]


def sums(events: Sequence[ParserEvent]) -> tuple[str, str, list[tuple[str | None, str]]]:
    thinking = "".join(e.text for e in events if isinstance(e, ThinkingDelta))
    text = "".join(e.text for e in events if isinstance(e, TextDelta))
    calls: dict[str, tuple[str | None, str]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            name, raw = calls.get(event.id, (None, ""))
            calls[event.id] = (event.name or name, raw + event.text)
    return thinking, text, list(calls.values())


def parse(
    chat: ChatFormat, chunks: Sequence[str], options: GenerateOptions | None = None
) -> tuple[list[ParserEvent], Parsed, bool]:
    parser = chat.parser(TOOLS, options or GenerateOptions())
    events: list[ParserEvent] = []
    for chunk in chunks:
        events += parser.feed(chunk)
    last, parsed = parser.finish()
    return events + last, parsed, parser.complete


def whole(chat: ChatFormat, text: str, options: GenerateOptions | None = None) -> Parsed:
    return parse(chat, [text], options)[1]


def calls_of(parsed: Parsed) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in parsed.tool_calls]


PIECES = [
    "<tool_call>", "</tool_call>", "<think>", "</think>", "</assistant>", "<|im_end|>", "<",
    "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "write", "done", "path", "content",
    "<tool_call>write\n<arg_key>path</arg_key>\n<arg_value>a.py</arg_value>\n",
    '<tool_call>\n{"name": "write", "arguments": {"path": "a", "content": "é\\n"}}\n</tool_call>',
    "<tool_call>done\n</tool_call>", '{"name": "done", "arguments": {}}', "```json\n", "\n```",
    "```", "`", "{", "}", '"', "\\", "\n", " ", "\t", "é", "漢", "🦀", "\u2028", "text", ",",
    "[", "]",
    '{"name": "done"', "<tool", "_call>", "\r\n", "function", '{"a": 1}', "null",
]  # fmt: skip

replies = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=14).map(
    "".join
)
FORMATS: list[Callable[[], ChatFormat]] = [
    LagunaFormat,
    lambda: LagunaFormat("v8"),
    ChatMLFormat,
    lambda: ChatMLFormat(thinks=True),
]


@given(
    reply=replies,
    cuts=st.lists(st.integers(0, 200), max_size=30),
    which=st.integers(0, len(FORMATS) - 1),
    thinking=st.booleans(),
    choice=st.sampled_from(["auto", "none"]),
)
def test_any_chunking_gives_the_same_sums(
    reply: str, cuts: list[int], which: int, thinking: bool, choice: Any
) -> None:
    chat = FORMATS[which]()
    options = GenerateOptions(thinking=thinking, tool_choice=choice)
    bounds = sorted({min(cut, len(reply)) for cut in cuts} | {0, len(reply)})
    chunks = [reply[a:b] for a, b in itertools.pairwise(bounds)]
    events, parsed, complete = parse(chat, chunks, options)
    for other in ([reply], list(reply)):
        again, parsed_again, complete_again = parse(chat, other, options)
        assert sums(again) == sums(events)
        assert complete_again == complete
        assert calls_of(parsed_again) == calls_of(parsed)
        assert (parsed_again.text, parsed_again.thinking) == (parsed.text, parsed.thinking)
        assert parsed_again.error == parsed.error
    thinking_sum, text_sum, _ = sums(events)
    assert (thinking_sum, text_sum) == (parsed.thinking, parsed.text)
    assert parsed.text == parsed.text.strip()
    assert len({call.id for call in parsed.tool_calls}) == len(parsed.tool_calls)
    parsed_json = json.dumps([call.model_dump() for call in parsed.tool_calls], ensure_ascii=False)
    parsed_json.encode()


@given(
    path=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    content=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    mode=st.integers(),
    version=st.sampled_from(["v4", "v8"]),
    size=st.integers(1, 9),
)
def test_laguna_arguments_come_back_to_the_byte(
    path: str, content: str, mode: int, version: Any, size: int
) -> None:
    path, content = (text.replace("</arg_value>", "") for text in (path, content))
    line = "\n" if version == "v4" else ""
    reply = f"<tool_call>write{line}" + "".join(
        f"<arg_key>{key}</arg_key>{line}<arg_value>{value}</arg_value>{line}"
        for key, value in (("path", path), ("content", content), ("mode", mode))
    )
    reply += "</tool_call>"
    chunks = [reply[at : at + size] for at in range(0, len(reply), size)]
    _, parsed, _ = parse(LagunaFormat(version), chunks)
    assert parsed.error is None
    assert calls_of(parsed) == [("write", {"path": path, "content": content, "mode": mode})]


@given(
    content=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    size=st.integers(1, 9),
    indent=st.sampled_from([None, 2]),
)
def test_json_arguments_come_back_to_the_byte(content: str, size: int, indent: int | None) -> None:
    call = {"name": "write", "arguments": {"path": "</tool_call>", "content": content}}
    reply = f"<tool_call>\n{json.dumps(call, indent=indent)}\n</tool_call>"
    chunks = [reply[at : at + size] for at in range(0, len(reply), size)]
    _, parsed, _ = parse(ChatMLFormat(), chunks)
    assert parsed.error is None
    assert calls_of(parsed) == [("write", call["arguments"])]


CALL = (
    "<tool_call>write\n<arg_key>path</arg_key>\n<arg_value>a.py</arg_value>\n"
    "<arg_key>content</arg_key>\n<arg_value>  x = 1\n</arg_value>\n</tool_call>"
)


def test_a_laguna_reply_is_thought_text_and_calls() -> None:
    reply = f"\nFirst.\n</think>\nI write it.\n{CALL}\n<tool_call>done\n</tool_call>\n</assistant>"
    events, parsed, complete = parse(LagunaFormat(), [reply], GenerateOptions(thinking=True))
    assert (parsed.thinking, parsed.text, parsed.error) == ("First.", "I write it.", None)
    assert calls_of(parsed) == [("write", {"path": "a.py", "content": "  x = 1\n"}), ("done", {})]
    assert complete
    assert CALL.removeprefix("<tool_call>").removesuffix("</tool_call>") in sums(events)[2][0][1]


def test_arguments_other_than_strings_are_decoded() -> None:
    def reply(key: str, value: str) -> Parsed:
        pair = f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n"
        return whole(LagunaFormat(), f"<tool_call>write\n{pair}</tool_call>")

    for key, text, value in (
        ("mode", " 12\n", 12),
        ("lines", "[1, 2]", [1, 2]),
        ("force", "true", True),
        ("force", "True", True),
        ("note", "null", None),
        ("note", "12", "12"),
        ("path", "null", "null"),
        ("path", "12", "12"),
        ("unknown", "12", "12"),
    ):
        assert reply(key, text).tool_calls[0].arguments == {key: value}, (key, text)
    bad = reply("mode", "twelve")
    assert not bad.tool_calls
    assert bad.error is not None
    assert "`mode`" in bad.error
    assert "integer" in bad.error
    assert "again" in bad.error


def test_a_literal_end_ends_the_reply_but_not_a_value() -> None:
    inside = CALL.replace("x = 1", "</assistant>")
    parser = LagunaFormat().parser(TOOLS, GenerateOptions())
    parser.feed(inside)
    assert not parser.complete
    parser.feed("\n</assist")
    assert not parser.complete
    parser.feed("ant>\n<user>\nnever shown")
    assert parser.complete
    parsed = parser.finish()[1]
    assert parsed.tool_calls[0].arguments["content"] == "  </assistant>\n"
    assert parsed.text == ""


def test_an_end_between_arguments_ends_the_call() -> None:
    reply = CALL.removesuffix("</tool_call>") + "</assistant>"
    parsed = whole(LagunaFormat(), reply)
    assert [call.name for call in parsed.tool_calls] == ["write"]


@pytest.mark.parametrize("keep", [11, 16, 30, 60, 100, len(CALL) - 3])
def test_a_truncated_call_is_reported_and_not_made(keep: int) -> None:
    for chunks in ([CALL[:keep]], list(CALL[:keep])):
        _, parsed, _ = parse(LagunaFormat(), chunks)
        assert parsed.tool_calls == []
        assert parsed.error is not None
        assert "cut off" in parsed.error


def test_a_truncated_value_that_holds_json_is_not_taken_for_a_call() -> None:
    reply = (
        '<tool_call>write\n<arg_key>path</arg_key>\n<arg_value>{"name": "done", "arguments": {}}'
    )
    assert whole(LagunaFormat(), reply).tool_calls == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n",
        "write path=a.py",
        "write\n<path>a.py</path>\n",
        "write\n<arg_key>path</arg_key>\na.py\n",
        "two words\n",
        "x" * 300,
    ],
)
def test_a_malformed_call_gives_an_error_and_the_rest_is_read(body: str) -> None:
    reply = f"<tool_call>{body}</tool_call>\n<tool_call>done\n</tool_call>"
    parsed = whole(LagunaFormat(), reply)
    assert calls_of(parsed) == [("done", {})]
    assert parsed.error is not None
    assert "Send it again" in parsed.error


def test_json_inside_laguna_tags_is_understood() -> None:
    for body in (
        '{"name": "write", "arguments": {"path": "a", "content": "b"}}',
        'write\n{"path": "a", "content": "b"}\n',
    ):
        parsed = whole(LagunaFormat(), f"<tool_call>{body}</tool_call>")
        assert calls_of(parsed) == [("write", {"path": "a", "content": "b"})]


def test_an_opener_in_a_thought_is_a_call_only_if_it_names_a_tool() -> None:
    options = GenerateOptions(thinking=True)
    reply = f"I could use <tool_call> tags.\n{CALL}"
    parsed = whole(LagunaFormat(), reply, options)
    assert parsed.thinking == "I could use <tool_call> tags."
    assert [call.name for call in parsed.tool_calls] == ["write"]


def test_text_after_a_call_is_text() -> None:
    parsed = whole(LagunaFormat(), f"Before.{CALL}After `<tool_call>` that.")
    assert parsed.text == "Before.\nAfter `<tool_call>` that."
    assert len(parsed.tool_calls) == 1
    assert parsed.error is None


def test_without_calls_the_tags_are_text() -> None:
    parsed = whole(LagunaFormat(), CALL, GenerateOptions(tool_choice="none"))
    assert parsed.text == CALL
    assert parsed.tool_calls == []


def test_a_call_streams_before_it_is_over() -> None:
    parser = LagunaFormat().parser(TOOLS, GenerateOptions())
    events = parser.feed(CALL[: CALL.index("x = 1") + 5])
    shown = [e for e in events if isinstance(e, ToolCallDelta)]
    assert shown[-1].name == "write"
    assert "".join(e.text for e in shown).endswith("x = 1")


DRIFT = [
    '{"name": "write", "arguments": {"path": "a", "content": "b"}}',
    'I do it:\n\n```json\n{"name": "write", "arguments": {"path": "a", "content": "b"}}\n```',
    '```\n{"tool": "write", "parameters": {"path": "a", "content": "b"}}\n```\n',
    '{"function": {"name": "write", "arguments": "{\\"path\\":\\"a\\",\\"content\\":\\"b\\"}"}}',
    '<tool_call>\n{"name": "write", "arguments": {"path": "a", "content": "b"}\n</tool_call>',
    '<tool_call>{"name": "write", "arguments": {"path": "a", "content": "b",}}',
    '<tool_call>{"name": "write", "path": "a", "content": "b"}</tool_call>',
    '```json\n{\n  "name": "write",\n  "arguments": {"path": "a",\n    "content": "b"\n  }\n}\n',
]


@pytest.mark.parametrize("reply", DRIFT)
def test_calls_of_small_models_are_understood_in_their_drift(reply: str) -> None:
    for chunks in ([reply], list(reply)):
        _, parsed, _ = parse(ChatMLFormat(), chunks)
        assert calls_of(parsed) == [("write", {"path": "a", "content": "b"})]
        assert parsed.error is None
        assert parsed.text in ("", "I do it:")


@pytest.mark.parametrize(
    "reply",
    [
        'Some JSON:\n{"name": "nobody", "arguments": {}}',
        '```json\n{"version": 1}\n```',
        '```python\nprint({"name": "done"})\n```',
        "Use {braces} and `code` and\n{\nnothing",
        'In a line {"name": "done", "arguments": {}} it is not meant.',
    ],
)
def test_other_json_and_code_stays_text(reply: str) -> None:
    for chunks in ([reply], list(reply)):
        _, parsed, _ = parse(ChatMLFormat(), chunks)
        assert parsed.text == reply
        assert parsed.tool_calls == []


def test_raw_newlines_and_stray_backslashes_in_json_are_forgiven() -> None:
    reply = (
        '<tool_call>{"name": "write", "arguments": {"path": "a", "content": "x\ny\\d"}}</tool_call>'
    )
    assert whole(ChatMLFormat(), reply).tool_calls[0].arguments["content"] == "x\ny\\d"


def test_lone_surrogates_become_replacement_characters() -> None:
    given = '{"path": "\\ud800", "content": "\\ud83e\\udd80"}'
    reply = f'<tool_call>{{"name": "write", "arguments": {given}}}'
    arguments = whole(ChatMLFormat(), reply + "</tool_call>").tool_calls[0].arguments
    assert arguments == {"path": "\ufffd", "content": "🦀"}


def test_an_unreadable_json_call_says_what_to_send() -> None:
    for body in ("write a.py", '{"name": 3}', "", '{"name": "write", "arguments": {"path": "a'):
        parsed = whole(ChatMLFormat(), f"<tool_call>{body}")
        assert parsed.tool_calls == []
        assert parsed.error is not None
        assert "Send it again" in parsed.error


def test_a_model_that_thinks_may_open_its_thought_itself() -> None:
    parsed = whole(ChatMLFormat(), "<think>\nHm.\n</think>\n\nThe answer.")
    assert (parsed.thinking, parsed.text) == ("Hm.", "The answer.")
    parsed = whole(ChatMLFormat(), "The tag <think> is text here.")
    assert (parsed.thinking, parsed.text) == ("", "The tag <think> is text here.")


def test_deeply_nested_and_very_long_input_is_parsed() -> None:
    for body in ('{"name":' + "[" * 200_000, "`" * 50_000, "<tool_call" * 5_000):
        whole(ChatMLFormat(), body)
        whole(LagunaFormat(), "<tool_call>" + body)
