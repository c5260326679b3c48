"""Names that a change leaves undefined or unused are told with its result."""

from __future__ import annotations

import pytest

from laguna_agent.tools.code.names import MOST, new_problems
from support.toolbox import Toolbox

BEFORE = "import os\n\n\ndef main(path):\n    return print(unknown, path)\n"


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (BEFORE, []),
        (BEFORE.replace("path)\n    return", "path):\n    return").replace("::", ":"), []),
        (BEFORE + "main(arg)\n", ["line 6: undefined name 'arg'"]),
        (BEFORE + "print(unknown)\n", ["line 6: undefined name 'unknown'"]),
        ("import sys\n" + BEFORE, ["line 1: 'sys' imported but unused"]),
        (
            BEFORE.replace("    return", "    total = path\n    return"),
            ["line 5: local variable 'total' is assigned to but never used"],
        ),
        ("def main(:\n", []),
        ("".join(f"print(a{n})\n" for n in range(9)), [
            f"line {n + 1}: undefined name 'a{n}'" for n in range(MOST)
        ]),
    ],
)  # fmt: skip
def test_only_what_the_change_brings_is_told(after: str, expected: list[str]) -> None:
    assert new_problems("a.py", BEFORE, after) == expected


def test_other_languages_and_broken_files_are_left_alone() -> None:
    assert new_problems("a.js", "", "print(x)") == []
    assert new_problems("a.py", "def f(:\n", "print(x)\n") == []
    assert new_problems("a.py", "", "x = \0\n") == []


async def test_the_result_of_an_edit_tells_them(box: Toolbox) -> None:
    box.add({"a.py": "import argparse\n\n\ndef main():\n    argparse.parse()\n"})
    result = await box.call("edit", path="a.py", old="argparse.parse()", new="print(args.limit)")
    assert "WARNING: a.py, line 5: undefined name 'args'." in result.content
    assert "WARNING: a.py, line 1: 'argparse' imported but unused." in result.content


async def test_the_result_of_a_new_file_tells_them(box: Toolbox) -> None:
    result = await box.call("write", path="a.py", content="print(args.limit)\n")
    assert "WARNING: a.py, line 1: undefined name 'args'." in result.content
