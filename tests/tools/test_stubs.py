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
    assert [(stub.owner, stub.name) for stub in found] == [
        ("Stack", "push"),
        ("", "later"),
        ("", "half"),
    ]
    assert found[0].head.endswith('        """Put a value on top."""\n')
    assert found[0].tail.startswith("\n    def pop(self):\n")
    body = '        raise NotImplementedError("write it")\n'
    assert found[0].head + body + found[0].tail == PYTHON


def test_a_class_that_another_derives_from_has_none() -> None:
    text = "class A:\n    def f(self):\n        pass\n\n\nclass B(A):\n    x = 1\n"
    assert stubs_in("a.py", text) == []


MODULE = '''import re


def slug(text):
    """Words joined by dashes."""
    raise NotImplementedError


def other(x):
    return x


if __name__ == "__main__":
    print(slug("a b"))
'''


@pytest.mark.parametrize(
    ("more", "extra"),
    [
        ("", ""),
        ("\n\ndef other(x):\n    return 0\n", ""),
        ("\n\nif __name__ == '__main__':\n    pass\n", ""),
        ("\n\ndef helper():\n    return 1\n", "\n\ndef helper():\n    return 1\n"),
        ("\n\nimport re\nimport os\n", "\n\nimport os\n"),
    ],
)
def test_only_the_body_is_taken_and_what_is_new(more: str, extra: str) -> None:
    [stub] = stubs_in("util.py", MODULE)
    body = '    return "-".join(text.split())\n'
    made = stub.with_body("util.py", stub.head + body + more)
    assert made == MODULE.replace("    raise NotImplementedError\n", body + extra)


def test_a_method_is_taken_alone() -> None:
    text = "class S:\n    def push(self, v):\n        raise NotImplementedError\n\n"
    text += "    def pop(self):\n        return self.v.pop()\n"
    [stub] = stubs_in("s.py", text)
    answer = f"{stub.head}        self.v.append(v)\n\n    def pop(self):\n        return 0\n"
    made = stub.with_body("s.py", answer)
    assert made == text.replace("raise NotImplementedError", "self.v.append(v)")


@pytest.mark.parametrize("answer", ["", "    return (\n", "x = 1\n"])
def test_an_answer_without_a_body_is_none(answer: str) -> None:
    [stub] = stubs_in("util.py", MODULE)
    assert stub.with_body("util.py", stub.head + answer) is None


@pytest.mark.parametrize(
    ("path", "text", "name", "body"),
    [
        ("a.rs", "use a;\nfn f<T>(x: T) -> i32 {\n    todo!()\n}\n\nfn g() {}\n", "f", "    1\n"),
        (
            "a.js",
            "class A {\n  f(x) {\n    throw new Error('Not implemented');\n  }\n}\nf(1);\n",
            "f",
            "    if (x) {\n      return 1;\n    }\n    return 2;\n",
        ),
        ("a.go", 'func f() {\n\tpanic("Please implement f")\n}\n', "f", "\treturn\n"),
    ],
)
def test_other_languages_have_their_own(path: str, text: str, name: str, body: str) -> None:
    [stub] = stubs_in(path, text)
    assert stub.name == name
    answer = f"{stub.head}{body}{'  ' if path == 'a.js' else ''}}}\n\nother\n"
    assert stub.with_body(path, answer) == stub.head + body + stub.tail


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.js", "function f() {\n  throw new Error('no such file');\n}\n"),
        ("a.go", 'func f() {\n\tpanic("too large")\n}\n'),
        ("a.js", "switch (o) {\n  default:\n    throw new Error('not implemented');\n}\n"),
        ("a.rs", "match x {\n    _ => {\n        unimplemented!()\n    }\n}\n"),
        ("a.js", "if (x) {\n  throw new Error('not implemented');\n}\n"),
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
        ("class A:\n    def f(self, n):\n        return self.m\n", False),
        ("def f(n, *, m=1):\n    return m\n", False),
        ("def f():\n    return 1\n", False),
        ("def g(n):\n    return 1\n", False),
        ("def f(n:\n", False),
    ],
)
def test_a_function_that_uses_no_argument_is_made_up(text: str, so: bool) -> None:
    assert ignores_arguments(text, "f") is so
