"""Functions, classes and constants of a file replaced by their names, the rest as it was."""

from __future__ import annotations

import re

import pytest

from laguna_agent.tools.code.redefinition import RedefinitionError, redefine
from support.toolbox import Toolbox

CART = '''\
"""Carts."""

import re

LIMIT = 3


# Prices are in cents.
@cached
def price(text,
          unit="c"):
    return int(text)


class Cart:
    """What is bought."""

    size = 1

    @property
    def total(self):
        # all of it
        return sum(self.items)

    def add(self, item):
        self.items.append(item)


class Order:
    def add(self, item):
        pass


if __name__ == "__main__":
    price("3")
'''


def changed(code: str, source: str = CART, path: str = "cart.py") -> str:
    return redefine(path, source, code).text


@pytest.mark.parametrize(
    ("code", "old", "new"),
    [
        ("LIMIT = 4\n", "LIMIT = 3\n", "LIMIT = 4\n"),
        (
            "def price(text):\n    return 0\n",
            'def price(text,\n          unit="c"):\n    return int(text)\n',
            "def price(text):\n    return 0\n",
        ),
        (
            "@lru_cache\ndef price(text):\n    return 0\n",
            '@cached\ndef price(text,\n          unit="c"):\n    return int(text)\n',
            "@lru_cache\ndef price(text):\n    return 0\n",
        ),
        (
            "def total(self):\n    return 0\n",
            "    def total(self):\n        # all of it\n        return sum(self.items)\n",
            "    def total(self):\n        return 0\n",
        ),
        (
            "    def total(self):\n        return 0\n",
            "    def total(self):\n        # all of it\n        return sum(self.items)\n",
            "    def total(self):\n        return 0\n",
        ),
        (
            "class Order:\n    def add(self, item):\n        return item\n",
            "class Order:\n    def add(self, item):\n        pass\n",
            "class Order:\n    def add(self, item):\n        return item\n",
        ),
    ],
    ids=["constant", "function", "decorator", "method", "indented method", "class"],
)
def test_a_definition_is_replaced_and_nothing_else(code: str, old: str, new: str) -> None:
    assert old in CART
    assert changed(code) == CART.replace(old, new)


def test_members_of_a_class_that_are_left_out_stay() -> None:
    members = "    def add(self, item):\n        pass\n\n    def clear(self):\n        pass\n"
    text = changed(f"class Cart:\n{members}")
    assert "    @property\n    def total(self):" in text
    assert members in text


def test_what_is_new_goes_where_the_code_has_it_else_before_the_main_part() -> None:
    code = "def price(text):\n    return 0\n\n\ndef cents(text):\n    return 1\n"
    assert "    return 0\n\n\ndef cents(text):\n    return 1\n\n\nclass Cart:" in changed(code)
    assert "    pass\n\n\ndef new():\n    pass\n\n\nif __name__" in changed(
        "def new():\n    pass\n"
    )


def test_imports_that_are_missing_are_added_to_the_others() -> None:
    text = changed("import re\nimport os\n\ndef price(text):\n    return os\n")
    assert "import re\nimport os\n\nLIMIT" in text
    first = changed("import os\n\nx = os.name\n", '"""Doc\n\nof it."""\n\nx = 1\n', "a.py")
    assert first == '"""Doc\n\nof it."""\nimport os\n\nx = os.name\n'
    many = changed(
        "import os\n\ndef f():\n    pass\n", "from a import (\n    b,\n)\n\n\nx = 1\n", "a.py"
    )
    assert many.startswith("from a import (\n    b,\n)\nimport os\n")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("price('4')\n", "no function, class or constant"),
        ("def f():\n    pass\n\nf()\n", "`f()` is no function"),
        ("def add(self, item):\n    pass\n", "defined in Cart and Order"),
        (
            "class Cart:\n    size = 2\n    def add(self, item):\n        pass\n",
            "leaves others of Cart out",
        ),
        ("", "no function"),
    ],
)
def test_code_that_cannot_be_placed_is_refused(code: str, why: str) -> None:
    with pytest.raises(RedefinitionError, match=re.escape(why)):
        changed(code)


@pytest.mark.parametrize(
    ("path", "source", "code", "expected"),
    [
        (
            "a.js",
            "const rate = 2;\n\n// Adds.\nexport function add(a, b) {\n  return a - b;\n}\n",
            "export function add(a, b) {\n  return a + b;\n}\n",
            "const rate = 2;\n\n// Adds.\nexport function add(a, b) {\n  return a + b;\n}\n",
        ),
        (
            "a.c",
            "#include <stdio.h>\n\nstatic int\nadd(int a)\n{\n    return a - 1;\n}\n",
            "#include <math.h>\n\nint add(int a) {\n    return a + 1;\n}\n",
            "#include <stdio.h>\n#include <math.h>\n\nint add(int a) {\n    return a + 1;\n}\n",
        ),
        (
            "a.go",
            "package a\n\nfunc (c *Cart) Add(n int) {\n\tc.n -= n\n}\n",
            "func (c *Cart) Add(n int) {\n\tc.n += n\n}\n",
            "package a\n\nfunc (c *Cart) Add(n int) {\n\tc.n += n\n}\n",
        ),
        (
            "a.rs",
            "impl Cart {\n    fn add(&mut self, n: u32) {\n        self.n -= n;\n    }\n}\n",
            "fn add(&mut self, n: u32) {\n    self.n += n;\n}\n",
            "impl Cart {\n    fn add(&mut self, n: u32) {\n        self.n += n;\n    }\n}\n",
        ),
        (
            "a.sh",
            "#!/bin/bash\ngreet() {\n  echo hi\n}\ngreet\n",
            "greet() {\n  echo hello\n}\n",
            "#!/bin/bash\ngreet() {\n  echo hello\n}\ngreet\n",
        ),
    ],
    ids=["javascript", "c", "go", "rust", "bash"],
)
def test_other_languages_too(path: str, source: str, code: str, expected: str) -> None:
    assert changed(code, source, path) == expected


async def test_write_takes_some_definitions_for_a_part_and_says_so(box: Toolbox) -> None:
    box.add({"cart.py": CART.replace("\n", "\r\n")})
    code = "LIMIT = 4\n\n\ndef new():\n    pass\n"
    result = await box.call("write", path="cart.py", content=code)
    assert result.ok
    assert "Replaced LIMIT.\nAdded new.\nThe rest of the file stays as it was." in result.content
    text = (box.workspace / "cart.py").read_bytes()
    assert b"LIMIT = 4\r\n" in text
    assert b"\n" not in text.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "content",
    [
        CART.replace("LIMIT = 3", "LIMIT = 4"),
        CART[: CART.index("class Order")],  # with the beginning of the file: the end goes
        "print(1)\n",
        "def price(text):\n    return 0\n\n\nprice('3')\n",
    ],
)
async def test_write_takes_the_whole_file_for_what_it_is(box: Toolbox, content: str) -> None:
    box.add({"cart.py": CART})
    await box.call("read", path="cart.py")
    assert (await box.call("write", path="cart.py", content=content)).ok
    assert box.text("cart.py") == content


async def test_write_refuses_a_part_that_leaves_code_out(box: Toolbox) -> None:
    box.add({"cart.py": CART})
    content = "def price(text):\n    # ... rest unchanged\n"
    assert not (await box.call("write", path="cart.py", content=content)).ok
    assert box.text("cart.py") == CART


async def test_a_part_of_a_file_that_changed_since_is_not_written(box: Toolbox) -> None:
    box.add({"cart.py": CART})
    await box.call("read", path="cart.py")
    box.add({"cart.py": CART.replace("LIMIT = 3", "LIMIT = 5")})
    assert not (await box.call("write", path="cart.py", content="LIMIT = 4\n")).ok
    assert "LIMIT = 5" in box.text("cart.py")
