"""The fenced format: declarations, what llama.cpp lets a model write, and parsing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from laguna_agent.models.chat.chat_format import Grammar, Parsed
from laguna_agent.models.chat.fenced import FencedFormat
from laguna_agent.models.chat.fenced_calls import Form
from laguna_agent.models.conversation import GenerateOptions, ToolSpec
from support.grammars import Vocabulary, verdict, vocabulary_of
from support.synthetic import tiny_laguna

REQUIRED = GenerateOptions(tool_choice="required")


def tool(name: str, required: Sequence[str] = (), /, **properties: dict[str, Any]) -> ToolSpec:
    schema = {"properties": properties, "required": [*(required or properties)]}
    return ToolSpec(name=name, description=f"Does {name}.", parameters=schema)


READ = tool("read", ("path",), path={"type": "string"}, start={"type": "integer"})
WRITE = tool("write", path={"type": "string"}, content={"type": "string"})
DONE = tool("done", summary={"type": "string"})
LOOK = tool("look", number={"type": "integer", "minimum": 1, "maximum": 12})
SHORT = tool("short", word={"type": "string", "maxLength": 5})
LEVEL = tool("level", level={"enum": ["low", "--high", "very high"]})
LOUD = tool("loud", on={"type": "boolean"})
RATE = tool("rate", rate={"type": "number"})
NOW = ToolSpec(name="now", description="Now.", parameters={"properties": {}})
MAYBE = ToolSpec(
    name="maybe", description="Maybe.", parameters={"properties": {"count": {"type": "integer"}}}
)
PAIR = tool("pair", name={"type": "string"}, count={"type": "integer", "minimum": 0})
CODE = tool("code", code={"type": "integer"})
TOOLS = [READ, WRITE, DONE, LOOK, SHORT, LEVEL, LOUD, RATE, NOW, MAYBE, PAIR, CODE]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return vocabulary_of(tiny_laguna())


def grammar(options: GenerateOptions = REQUIRED) -> Grammar:
    made = FencedFormat().grammar(TOOLS, options)
    assert made is not None
    return made


def parse(reply: str) -> Parsed:
    parser = FencedFormat().parser(TOOLS, REQUIRED)
    parser.feed(reply)
    return parser.finish()[1]


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("### read a b.py", "read", {"path": "a b.py"}),
    ("It is wrong.\n\n### read `a.py`", "read", {"path": "a.py"}),
    ("### write a.py\n```python\nx = 1\n```\n", "write", {"path": "a.py", "content": "x = 1\n"}),
    ("### done Mended SUMMARY of it", "done", {"summary": "Mended SUMMARY of it"}),
    ("### done S", "done", {"summary": "S"}),
    ("### look 7", "look", {"number": 7}),
    ("### look 12\n", "look", {"number": 12}),
    ("### short abcde", "short", {"word": "abcde"}),
    ("### level very high", "level", {"level": "very high"}),
    ("### loud true", "loud", {"on": True}),
    ("### rate -0.5", "rate", {"rate": -0.5}),
    ("### now", "now", {}),
    ("### maybe", "maybe", {}),
    ("### maybe -3", "maybe", {"count": -3}),
    ('### pair {"name": "a, \\"b\\"", "count": 0}', "pair", {"name": 'a, "b"', "count": 0}),
    ("### code 5", "code", {"code": 5}),
]


@pytest.mark.parametrize(("reply", "name", "arguments"), CALLS)
def test_calls_are_allowed_and_read(
    vocabulary: Vocabulary, reply: str, name: str, arguments: dict[str, Any]
) -> None:
    assert verdict(vocabulary, grammar(), reply, special=False) == "complete"
    parsed = parse(reply)
    assert parsed.error is None
    [call] = parsed.tool_calls
    assert (call.name, call.arguments) == (name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *((name, arguments) for _, name, arguments in CALLS),
        ("write", {"path": "a.py", "content": ""}),
        ("write", {"path": "a.py", "content": "```\nx\n````\n"}),
        ("done", {"summary": "Two\nlines"}),
        ("done", {"summary": " spaces "}),
    ],
)
def test_a_call_written_from_its_arguments_is_read_as_them(
    name: str, arguments: dict[str, Any]
) -> None:
    [form] = [Form.of(tool) for tool in TOOLS if tool.name == name]
    [call] = parse(form.written(arguments)).tool_calls
    assert (call.name, call.arguments) == (name, arguments)


@pytest.mark.parametrize(
    "reply",
    [
        "### done SUMMARY",
        "### done SUMMARY of it",
        "### read PATH",
        "### read",
        "### read ",
        "### look",
        "### look 0",
        "### look 13",
        "### look 100",
        "### look seven",
        "### short abcdef",
        "### level LEVEL",
        "### level high",
        "### loud ON",
        "### loud maybe",
        "### code CODE",
        "### maybe " + "1" * 17,
        "### rate " + "1" * 17,
        '### pair {"name": "NAME", "count": 1}',
        '### pair {"name": "a"}',
        '### pair {"count": 1, "name": "a"}',
        '### pair {"name": "a", "count": -1}',
        '### pair {"name": "a",\n"count": 1}',
        "### now 1",
        "### write a.py",
        "### nothing",
        "Just words.",
    ],
)
def test_malformed_calls_are_refused(vocabulary: Vocabulary, reply: str) -> None:
    assert verdict(vocabulary, grammar(), reply, special=False) in ("refused", "partial")


def test_a_line_has_an_end(vocabulary: Vocabulary) -> None:
    for text, expected in (("x" * 1000, "complete"), ("x" * 1001, "refused")):
        assert verdict(vocabulary, grammar(), f"### read {text}", special=False) == expected


def test_a_thought_has_an_end(vocabulary: Vocabulary) -> None:
    line = "so " * 200
    for more, expected in (("", "complete"), ("and so", "refused")):
        reply = f"x{line}{more}\n### look 7"
        assert verdict(vocabulary, grammar(), reply, special=False) == expected


def test_paths_are_held_to_those_that_may_be_written(vocabulary: Vocabulary) -> None:
    held = grammar(GenerateOptions(tool_choice="required", paths=["a.py"]))
    for path, expected in (("a.py", "complete"), ("b.py", "refused")):
        reply = f"### write {path}\n```\nx\n```"
        assert verdict(vocabulary, held, reply, special=False) == expected
    assert verdict(vocabulary, held, "### read b.py", special=False) == "complete"


def test_with_auto_prose_is_a_reply_too(vocabulary: Vocabulary) -> None:
    auto = grammar(GenerateOptions(tool_choice="auto"))
    assert verdict(vocabulary, auto, "It adds two numbers.", special=False) == "complete"
    assert verdict(vocabulary, auto, "### look 13", special=False) == "refused"


def test_the_declaration_says_what_an_argument_may_be() -> None:
    assert Form.of(READ).declaration() == "### read PATH\nDoes read."
    assert Form.of(LOOK).declaration() == (
        "### look NUMBER\nDoes look.\nNUMBER: a whole number from 1 to 12"
    )
    assert Form.of(LEVEL).declaration().endswith("\nLEVEL: one of low, --high, very high")
    assert Form.of(LOUD).declaration().endswith("\nON: true or false")
    assert Form.of(MAYBE).declaration().endswith("\nCOUNT: a whole number, may be left out")
    assert Form.of(PAIR).usage() == '### pair {"name": "NAME", "count": COUNT}'
    assert Form.of(WRITE).usage() == "### write PATH\n```\nCONTENT\n```"
    described = tool(
        "described", module={"type": "string", "description": "such as tests.test_calc"}
    )
    assert Form.of(described).declaration().endswith("\nMODULE: such as tests.test_calc")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("### look seven", "number must be integer in JSON, and was 'seven'"),
        ("### pair a 1", "its arguments are one JSON object"),
        ("### write a.py", "its fence is missing"),
    ],
)
def test_a_call_that_cannot_be_read_is_answered_with_its_form(reply: str, says: str) -> None:
    parsed = parse(reply)
    assert parsed.tool_calls == []
    assert says in str(parsed.error)
    assert "Write it as:\n### " in str(parsed.error)


def test_a_single_argument_in_json_is_meant_as_that_argument() -> None:
    for reply in ('### read {"path": "a.py"}', "### read a.py"):
        [call] = parse(reply).tool_calls
        assert call.arguments == {"path": "a.py"}
