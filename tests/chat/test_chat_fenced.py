"""The fenced format: declarations, what llama.cpp lets a model write, and parsing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from laguna_agent.events import Reply
from laguna_agent.models.chat.chat_format import Grammar, Parsed
from laguna_agent.models.chat.fenced import THOUGHT_CHARS, FencedFormat, code_grammar
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
EDIT = tool("edit", path={"type": "string"}, old={"type": "string"}, new={"type": "string"})
TOOLS = [READ, WRITE, DONE, LOOK, SHORT, LEVEL, LOUD, RATE, NOW, MAYBE, PAIR, CODE, EDIT]


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
    line = "so " * (THOUGHT_CHARS // 3)
    for more, expected in (("", "complete"), ("and so", "refused")):
        reply = f"x{line}{more}\n### look 7"
        assert verdict(vocabulary, grammar(), reply, special=False) == expected


def test_a_brief_thought_ends_after_a_sentence(vocabulary: Vocabulary) -> None:
    brief = grammar(GenerateOptions(tool_choice="required", brief=True))
    for thought, expected in (
        ("x" * 161, "complete"),
        ("x" * 162, "refused"),
        ("one\ntwo", "refused"),
    ):
        reply = f"{thought}\n### look 7"
        assert verdict(vocabulary, brief, reply, special=False) == expected


def test_paths_are_held_to_those_that_may_be_written(vocabulary: Vocabulary) -> None:
    held = grammar(GenerateOptions(tool_choice="required", files={"write": {"a.py": "x = 1\n"}}))
    for path, expected in (("a.py", "complete"), ("b.py", "refused")):
        reply = f"### write {path}\n```\nx\n```"
        assert verdict(vocabulary, held, reply, special=False) == expected
    assert verdict(vocabulary, held, "### read b.py", special=False) == "complete"


def test_reading_is_held_to_files_that_are_there(vocabulary: Vocabulary) -> None:
    held = grammar(GenerateOptions(tool_choice="required", files={"read": {"a.py": "", "b": ""}}))
    for path in ("a.py", "b", "a.py:3", "a.py:3-20"):
        assert verdict(vocabulary, held, f"### read {path}", special=False) == "complete"
    for path in ("c.py", "a.pyi", "a.py:0", "a.py (changed)"):
        assert verdict(vocabulary, held, f"### read {path}", special=False) == "refused"


EDITED = "### edit a.py\n```\n{old}```\n```\n{new}```\n"


def test_an_edit_has_its_two_texts_in_two_fences(vocabulary: Vocabulary) -> None:
    assert FencedFormat.system_text("Do.", [EDIT]).endswith(
        "### edit PATH\n```\nOLD\n```\n```\nNEW\n```\nDoes edit."
    )
    reply = EDITED.format(old="x = 1\n", new="x = 2\n\n")
    assert verdict(vocabulary, grammar(), reply, special=False) == "complete"
    parsed = parse(f"It is one.\n\n{reply}")
    assert parsed.text == "It is one."
    [call] = parsed.tool_calls
    assert call.arguments == {"path": "a.py", "old": "x = 1\n", "new": "x = 2\n\n"}
    assert call.raw == reply
    assert FencedFormat.reply_text(Reply(tool_calls=[call]), [EDIT]) == reply.rstrip()


def test_an_edit_that_lacks_a_fence_is_no_call() -> None:
    for reply, why in (
        ("### edit a.py\n```\nx\n```\n", "the fence with new is missing"),
        ("### edit a.py\n```\nx\n```\n```\ny", "the closing fence is missing"),
        ("### edit a.py\n", "its fence is missing"),
    ):
        parsed = parse(reply)
        assert not parsed.tool_calls
        assert why in str(parsed.error)


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        ("def f():\n", "complete"),
        ("    return 1\n\ny = 2\n", "complete"),
        ("def f():\n    return 1\n\ny = 2\n", "complete"),
        ("return 1\n", "refused"),
        ("def f():\ny = 2\n", "refused"),
        ("def f() :\n", "refused"),
        ("", "refused"),
    ],
)
def test_the_old_text_of_an_edit_is_lines_of_the_file(
    vocabulary: Vocabulary, old: str, expected: str
) -> None:
    files = {"a.py": "def f():\n    return 1\n\ny = 2\n", "b.py": "z = 3\n"}
    held = grammar(GenerateOptions(tool_choice="required", files={"edit": files}))
    reply = EDITED.format(old=old, new="z = 3\n")
    assert verdict(vocabulary, held, reply, special=False) == expected


def test_a_file_with_fences_or_without_end_holds_no_edit(vocabulary: Vocabulary) -> None:
    for text in ("# A\n```\nx\n```\n", "x\n" * 2_000):
        held = grammar(GenerateOptions(tool_choice="required", files={"edit": {"a.py": text}}))
        reply = EDITED.format(old="other\n", new="z\n")
        assert verdict(vocabulary, held, reply, special=False) == "complete"


def test_many_long_files_hold_no_more_than_a_grammar_can(vocabulary: Vocabulary) -> None:
    line = "x" * 200 + "\n"
    files = {"a\nb.py": "y\n", **{f"{n}.py": line * 199 for n in range(100)}, "last.py": "z\n"}
    held = grammar(GenerateOptions(tool_choice="required", files={"edit": files}))
    assert len(held.gbnf) < 200_000
    for path, expected in (("0.py", "refused"), ("50.py", "complete"), ("last.py", "refused")):
        reply = EDITED.format(old="other\n", new="z\n").replace("a.py", path)
        assert verdict(vocabulary, held, reply, special=False) == expected


def test_paths_with_signs_of_their_own_are_held_too(vocabulary: Vocabulary) -> None:
    paths = ['a "b" c.py', "-rf", "a`b`.py", "a\\b.py", "[x]{2}|.py"]
    held = grammar(
        GenerateOptions(tool_choice="required", files={"read": dict.fromkeys(paths, "")})
    )
    for path in paths:
        assert verdict(vocabulary, held, f"### read {path}", special=False) == "complete"
        assert parse(f"### read {path}\n").tool_calls[0].arguments == {"path": path}
    lost = grammar(GenerateOptions(tool_choice="required", files={"read": {"a\nb": ""}}))
    assert verdict(vocabulary, lost, "### read a", special=False) == "complete"


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


def test_a_command_that_is_only_done_ends_the_task() -> None:
    shell = tool("shell", command={"type": "string"})
    for tools, name in (([shell, DONE], "done"), ([shell], "shell")):
        parser = FencedFormat().parser(tools, REQUIRED)
        parser.feed("### shell done\n")
        assert [call.name for call in parser.finish()[1].tool_calls] == [name]


BEGINS = "```python\ndef f(n):\n"


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("    return n\n```", "complete"),
        ("    return n\n```\n", "complete"),
        ("    return n\n\n\n@cached\ndef g():\n    return (\n        1\n)\n```", "complete"),
        ("    return n\n\n\nLIMIT = 3\n```", "complete"),
        ("    return n\n\n\nif __name__ == '__main__':\n    f(1)\n```", "complete"),
        ("    return n\n\n\nprint(f(3))\n```", "refused"),
        ("    return n\n\n\n# Example usage:\n```", "refused"),
        ("    return n\n```\n### done", "refused"),
    ],
)
def test_code_that_only_defines_goes_on_so(
    vocabulary: Vocabulary, rest: str, expected: str
) -> None:
    held = Grammar(code_grammar(BEGINS, only_defines=True))
    assert verdict(vocabulary, held, BEGINS + rest, special=False) == expected
    assert verdict(vocabulary, held, "### read a.py", special=False) == "refused"


def test_other_code_goes_on_freely(vocabulary: Vocabulary) -> None:
    held = Grammar(code_grammar(BEGINS, only_defines=False))
    reply = BEGINS + "    return n\n\n\nprint(f(3))\n```"
    assert verdict(vocabulary, held, reply, special=False) == "complete"
