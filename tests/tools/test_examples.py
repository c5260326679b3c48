"""Examples in the documentation of functions: which are found, and which fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.tools.code import example_runner
from laguna_agent.tools.code.examples import changed_examples, stated_values
from laguna_agent.tools.files.diffs import unified

PROSE = [
    ("f([1, 2]) == 3", "f([1, 2])", "3"),
    ("f(1) ➞ 2", "f(1)", "2"),
    ("f(1) => 2", "f(1)", "2"),
    ("f(1) ==> [1, 2]", "f(1)", "[1, 2]"),
    ("f(1) -> None", "f(1)", "None"),
    ("f(1) # => 2", "f(1)", "2"),
    ("f(1) returns 2.", "f(1)", "2."),
    ("For example, `f('a)')` should return `\"b\"`.", "f('a)')", '"b"'),
    ("* f(-1, key=(2, 3)) = {'a': 1}  (as a dict)", "f(-1, key=(2, 3))", "{'a': 1}"),
    ("f(1) is 2 (not 3)", "f(1)", "2"),
    ("f(1) returns 'a # b'", "f(1)", "'a # b'"),
    ("f(1) => true", "f(1)", "True"),
    ("f(1) -> [100,200]", "f(1)", "[100,200]"),
    ("f('1,000') -> '2,000'", "f('1,000')", "'2,000'"),
    ("f(1) -> 'when'  (as a word)", "f(1)", "'when'"),
]
NO_EXAMPLE = [
    "f(x) returns 2",
    "f(1) returns two",
    "f(1) returns 2 or 3",
    "f(1) should not return 2",
    "f(1) != 2",
    "f(1) >= 2",
    "f(1) = g(2)",
    "f(n) = n + 1",
    "g.f(1) == 2",
    "other_f(1) == 2",
    "f(__import__('os').getcwd()) == 2",
    "f(1 == 2",
    "f(1) == 2\nf(1) == 3",
    "f(1) -> 1,000",
    "f(1) -> 12,345.6",
    "f(1) -> [1,000]",
    "f(1,000) -> 5",
    "f([1, 2, 3]) -> 2 (random)",
    "f() -> '1.2'  e.g. the current version",
    "f('2024-01-01') → 'UTC'  when the env is unset",
    "f(1) -> 0.33 (approximately)",
    "f(1) -> 3  # depends on the locale",
    "f(1) -> 3  # about",
    "f(1) -> 3 (may vary)",
    "f(1) -> 3 in debug mode",
    "f(1) == 3 if x is set",
    "If x is set, f(1) == 3",
    "Usually f(1) -> 3",
    "In debug mode f(1) -> 3",
    "f(1) = 3\nf(3) = [1, 3]",
    "f(1)",
]


@pytest.mark.parametrize(("line", "call", "value"), PROSE)
def test_a_call_beside_a_literal_is_an_example(line: str, call: str, value: str) -> None:
    assert stated_values("f", f"Do it.\n\n    {line}\n") == [(call, value)]


@pytest.mark.parametrize("text", NO_EXAMPLE)
def test_other_prose_is_none(text: str) -> None:
    assert stated_values("f", text) == []


def created(source: str) -> list[str]:
    return [examples.name for examples in changed_examples(source, unified("", source))]


def test_only_functions_that_the_edit_changed_count() -> None:
    before = "\n\n".join(f'def {n}():\n    """{n}() == 1"""\n    return 1\n' for n in "fg")
    after = before.replace("return 1\n\n", "return 2\n\n")
    assert [e.name for e in changed_examples(after, unified(before, after))] == ["f"]
    shorter = before.replace("    return 1\n\n", "\n")
    assert [e.name for e in changed_examples(shorter, unified(before, shorter))] == ["f"]
    assert created(before) == ["f", "g"]


def test_methods_count_by_their_doctests() -> None:
    source = (
        'class C:\n    def f(self):\n        """\n        >>> C().f()\n        1\n        """\n'
    )
    assert created(source) == ["C.f"]
    assert created('class C:\n    def f(self):\n        """f() == 1"""\n') == []


@pytest.mark.parametrize(
    "more", ["print(f())", "for x in []: pass", "f(", "with open('x') as s: pass", "if f(): f()"]
)
def test_a_module_that_does_something_when_imported_is_left_alone(more: str) -> None:
    assert created(f'def f():\n    """f() == 1"""\n    return 1\n{more}\n') == []


def test_a_module_may_guard_what_it_runs() -> None:
    source = (
        '"""A."""\ntry:\n    import json\nexcept ImportError:\n    json = None\n\ndef f():\n'
        '    """f() == 1"""\n\nif __name__ == "__main__":\n    print(f())\n'
    )
    assert created(source) == ["f"]


def failed(source: str, folder: Path) -> Any:
    (folder / "m.py").write_text(source)
    functions = [e._asdict() for e in changed_examples(source, unified("", source))]
    task = {"root": str(folder), "module": "m", "functions": functions, "seconds": 1, "mark": "@"}
    runner = Path(example_runner.__file__).read_text()
    ran = subprocess.run(
        [sys.executable, "-B", "-c", runner, json.dumps(task)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert functions
    return json.loads(ran.stdout.strip().removeprefix("@"))


def function(body: str, *documentation: str) -> str:
    lines = "".join(f"    {line}\n" for line in documentation)
    return f'def f(x):\n    """Do it.\n\n{lines}    """\n    {body}\n'


RIGHT = [
    function("return x + 1", ">>> f(1)", "2"),
    function("return x + 1", "f(1) ➞ 2"),
    function("return 'a'", ">>> f(1)", '"a"'),
    function("return {2, 1}", ">>> f(1)", "{2, 1}"),
    function("return 0.1 + 0.2", ">>> f(1)", "0.3"),
    function("return (1, 2)", "f(1) == [1, 2]"),
    function("return x + 1", ">>> f(1) == 2"),
    function("print(x)", ">>> f(1)", "1"),
    function("raise ValueError('no')", ">>> f(1)", "Traceback (most recent call last):", "    ...",
             "ValueError: no"),
    function("return x.y", ">>> f(unknown)", "2"),
    function("return helper(x)", ">>> f(1)", "2"),
    function("return 1", ">>> f(1)  # doctest: +SKIP", "2"),
    function("return 1", ">>> f(1)  # random", "2"),
    function("return 1", ">>> f(1)", "2  # may vary"),
    function("return False", ">>> f(1) (random)", "2").replace(" (random)\n", "  # e.g.\n"),
    function("return 1", ">>> f(1)", "2 (approximately)"),
    function("return 1", ">>> f(1)  # depends on the day", "2", ">>> f(2)", "1"),
]  # fmt: skip
WRONG = [
    (function("return x", ">>> f(1)", "2"), ["f", "f(1)", "2", "1"]),
    (function("return x", ">>> f(0)", "0", ">>> f(1)", "2"), ["f", "f(1)", "2", "1"]),
    (function("return x", "f(1) == 2"), ["f", "f(1)", "2", "1"]),
    (function("pass", ">>> f(1)", "2"), ["f", "f(1)", "2", "nothing"]),
    (function("return x", ">>> f(1) == 2"), ["f", "f(1) == 2", "True", "False"]),
    (function("return x + 'a'", "f('b') == 'ab'"), ["f", "f('b')", "'ab'", "'ba'"]),
    (function("return x[1]", ">>> f([])", "2"),
     ["f", "f([])", "2", "IndexError: list index out of range"]),
    (function("return x[1]", "f([]) == 2"),
     ["f", "f([])", "2", "IndexError: list index out of range"]),
    (function("while True: pass", ">>> f(1)", "2"), ["f", "f(1)", "2", "no end"]),
]  # fmt: skip


@pytest.mark.parametrize("source", RIGHT)
def test_examples_that_hold_or_cannot_be_judged_do_not_fail(source: str, tmp_path: Path) -> None:
    assert failed(source, tmp_path) is None


@pytest.mark.parametrize(("source", "told"), WRONG)
def test_the_first_example_that_fails_is_told(source: str, told: list[str], tmp_path: Path) -> None:
    assert failed(source, tmp_path) == told


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('For s = "ab", c = "a", the result should be "b".', [('f(s = "ab", c = "a")', '"b"')]),
        ("for s = 1 the output should be [2]", [("f(s = 1)", "[2]")]),
        ("Input: [4, 2]\nOutput: 2 # the least", [("f([4, 2])", "2 # the least")]),
        ("Input: s = [4, 2], c = 1\n\n   Output: 2", [("f(s = [4, 2], c = 1)", "2")]),
        ("Input: 1\nOutput: 2\n\nInput: 1\nOutput: 3", []),
        ("For n = 1 the output should be 2", []),
        ("For s = n the output should be 2", []),
        ("For s = 1 the output should be large", []),
        ("Input: the file\nOutput: 3", []),
        ("Input: 3\nOutput: 10 (approximately)", []),
        ("Input: 3\nOutput: 1,000", []),
        ("Input: 3\nThe output is 3", []),
        ("f(1) ➞ 1\nf(2) ➞ 'two'", [("f(1)", "1"), ("f(2)", "'two'")]),
    ],
)
def test_what_is_given_may_be_described(text: str, values: list[tuple[str, str]]) -> None:
    source = f'def f(s, c=0):\n    """Do it.\n\n{text}\n    """\n    return s\n'
    found = changed_examples(source, unified("", source))
    assert [example.values for example in found] == ([values] if values else [])
