"""Declarations of tools and validation of arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from laguna_agent.tools.registry import builtin_tools, declaration, validate_arguments
from laguna_agent.tools.tool import ToolArguments

TOOLS = builtin_tools()


def check(tool: str, raw: Any) -> Any:
    return validate_arguments(TOOLS[tool], raw)


def test_all_tools_are_listed_in_order() -> None:
    names = ["read", "edit", "write", "search", "symbols", "shell", "git", "plan", "done"]
    assert [name for name in TOOLS if name in names] == names
    assert all(TOOLS[name].name == name for name in names)
    assert list(builtin_tools("search", "read")) == ["read", "search"]


def test_every_example_is_a_correct_call() -> None:
    for name, tool in TOOLS.items():
        example = getattr(tool, "example", None)
        assert example, name
        assert isinstance(validate_arguments(tool, example), ToolArguments), name


def test_declarations_are_small_and_flat() -> None:
    for name in ("read", "edit", "write", "search", "symbols"):
        declared = declaration(TOOLS[name])
        assert set(declared) == {"name", "description", "parameters"}
        text = json.dumps(declared)
        for noise in ("title", "$defs", "$ref", "anyOf", "null", "additionalProperties", "default"):
            assert f'"{noise}"' not in text, name
        assert len(text) < 560


@pytest.mark.parametrize(
    ("raw", "start"),
    [("12", 12), (12, 12), (12.0, 12), ("1,200", 1200), (None, None)],
)
def test_unambiguous_values_are_converted(raw: Any, start: int | None) -> None:
    assert check("read", {"path": "a.py", "start": raw}).start == start


def test_conversions_of_other_types() -> None:
    edit = {"path": "a", "old": "x", "new": "y"}
    assert check("edit", {**edit, "all": "True"}).all is True
    assert check("edit", {**edit, "all": 0}).all is False
    for more in ({"old": "p", "new": "q"}, '[{"old": "p", "new": "q"}]'):
        [replacement] = check("edit", {**edit, "more": more}).more
        assert (replacement.old, replacement.new) == ("p", "q")
    assert check("search", {"pattern": "x", "mode": "FILES"}).mode == "files"
    assert check("read", '{"path": "a.py"}').path == "a.py"


def test_strings_are_kept_to_the_byte() -> None:
    arguments = check("write", {"path": "a.py", "content": "  12\n\n"})
    assert arguments.content == "  12\n\n"


@pytest.mark.parametrize(
    ("tool", "raw", "parts"),
    [
        ("read", {}, ["path is missing"]),
        ("read", {"file": "a.py", "path": "b.py"}, ["no argument file", "it takes path"]),
        ("read", {"path": "a.py", "strat": 5}, ["did you mean start?"]),
        ("read", {"path": "a.py", "start": "five"}, ["start", "integer"]),
        ("read", {"path": "a.py", "start": 0}, ["start", "greater than or equal to 1"]),
        ("read", [], ["must be one object"]),
        ("read", "a.py", ["must be one object"]),
        ("edit", {"path": "a.py", "old_string": "x", "new": "y"}, ["did you mean old?"]),
        ("search", {"pattern": "x", "mode": "fuzzy"}, ["mode", "'regex'"]),
        ("symbols", {"action": "outline", "name": None, "path": None, "x": 1}, ["no argument x"]),
        ("search", {"pattern": ""}, ["pattern"]),
        ("shell", {"command": " "}, ["cannot be empty"]),
    ],
)
def test_wrong_arguments_are_one_line_with_a_correct_example(
    tool: str, raw: Any, parts: list[str]
) -> None:
    answer = check(tool, raw)
    assert isinstance(answer, str)
    assert "\n" not in answer
    for part in parts:
        assert part in answer
    example = json.loads(answer.split("Example: ")[1])
    assert isinstance(check(tool, example), ToolArguments)


def test_example_keeps_correct_arguments() -> None:
    answer = check("edit", {"path": "src/mine.py", "old": "a"})
    assert '"path": "src/mine.py"' in answer
    assert '"old": "a"' in answer
