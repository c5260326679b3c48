"""Functions that are still to be written, found in a file."""

from __future__ import annotations

import pytest

from laguna_agent.tools.code.stubs import ignores_arguments, stubs_in

PYTHON = '''import abc
from typing import Protocol


class Shape(Protocol):
    def area(self) -> float: ...


class Base(abc.ABC):
    def draw(self):
        pass


class Error(Exception):
    pass


class Stack:
    @abc.abstractmethod
    def size(self):
        raise NotImplementedError

    def push(self, value):
        """Put a value on top."""
        raise NotImplementedError("write it")

    def pop(self):
        if not self.values:
            raise NotImplementedError
        return 1


async def later():
    ...


def short(): pass


def half():
    pass  # TODO


def done():
    return None
'''


def test_bodies_that_only_say_so_are_stubs() -> None:
    found = stubs_in("shapes.py", PYTHON)
    assert [stub.name for stub in found] == ["push", "later", "half"]
    assert found[0].head.endswith('        """Put a value on top."""\n')
    assert found[0].head + "        raise" in PYTHON
    assert found[2].head.endswith("def half():\n")


@pytest.mark.parametrize(
    ("path", "text", "head"),
    [
        ("a.rs", "fn f() {\n    todo!()\n}\n", "fn f() {\n"),
        ("a.rs", 'fn f() {\n    unimplemented!("later")\n}\n', "fn f() {\n"),
        ("a.js", "function f() {\n  throw new Error('Not implemented');\n}\n", "function f() {\n"),
        ("a.ts", 'f() {\n\tthrow new Error("TODO: f");\n}\n', "f() {\n"),
        ("a.go", 'func f() {\n\tpanic("Please implement f")\n}\n', "func f() {\n"),
    ],
)
def test_other_languages_have_their_own(path: str, text: str, head: str) -> None:
    assert [stub.head for stub in stubs_in(path, text)] == [head]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.js", "function f() {\n  throw new Error('no such file');\n}\n"),
        ("a.go", 'func f() {\n\tpanic("too large")\n}\n'),
        ("a.md", "todo!()\n"),
        ("a.py", "def f(:\n    pass\n"),
        ("a.py", ""),
        ("a.py", "def f():\n    return NotImplementedError\n"),
        ("a.py", 'def f():\n    """Documented, and so complete."""\n'),
        ("a.py", "class Empty:\n    pass\n\n\nfor x in ():\n    pass\n"),
    ],
)
def test_everything_else_is_none(path: str, text: str) -> None:
    assert stubs_in(path, text) == []


@pytest.mark.parametrize(
    ("text", "so"),
    [
        ("def f(n):\n    return [3, 5, 7]\n", True),
        ("class A:\n    def f(self, n):\n        return self.m\n", True),
        ("def f(n, *, m=1):\n    return m\n", False),
        ("def f():\n    return 1\n", False),
        ("def g(n):\n    return 1\n", False),
        ("def f(n:\n", False),
    ],
)
def test_a_function_that_uses_no_argument_is_made_up(text: str, so: bool) -> None:
    assert ignores_arguments(text, "f") is so
