"""Functions, classes and constants of a file replaced by their names, the rest as it was."""

from __future__ import annotations

import ast
import re

import pytest

from laguna_agent.tools.code.redefinition import RedefinitionError, redefine, redefined
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
    assert "@@" not in result.content, "the model has just written it, and small ones copy it"
    assert "+LIMIT = 4" in result.diff
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


REST = "\n\ndef other(a):\n    return a\n"
PROPERTY = (
    "import os\n\n\nclass A:\n    @property\n    def x(self):\n        return self._x\n\n"
    "    @x.setter\n    def x(self, v):\n        self._x = v\n"
)
OVERLOADS = (
    "import os\n\n\n@overload\ndef f(a: int) -> int: ...\n@overload\ndef f(a: str) -> str: ...\n"
    "def f(a):\n    return a\n" + REST
)
GO = (
    "package a\n\nfunc (c *Cart) Add(n int) {\n\tc.n = 1\n}\n\n"
    "func (o *Order) Add(n int) {\n\to.n = 2\n}\n"
)
C_TWINS = (
    "#include <a.h>\n#ifdef W\nint f(int a) {\n    return 1;\n}\n#else\n"
    "int f(int a) {\n    return 2;\n}\n#endif\nint g(int a) {\n    return 3;\n}\n"
)
JAVA = (
    "package p;\n\nclass A {\n    int f(int a) {\n        return 1;\n    }\n\n"
    "    int f(String a) {\n        return 2;\n    }\n}\n"
)


@pytest.mark.parametrize(
    ("path", "source", "code", "old", "new"),
    [
        (
            "a.py",
            PROPERTY,
            "class A:\n    @x.setter\n    def x(self, v):\n        self._x = 5\n",
            "self._x = v",
            "self._x = 5",
        ),
        (
            "a.py",
            PROPERTY,
            "class A:\n    @property\n    def x(self):\n        return 5\n",
            "return self._x",
            "return 5",
        ),
        ("a.py", OVERLOADS, "def f(a):\n    return 5\n", "return a\n\n", "return 5\n\n"),
        (
            "a.py",
            OVERLOADS,
            (
                "@overload\ndef f(a: int) -> int: ...\n"
                "@overload\ndef f(a: bytes) -> str: ...\ndef f(a):\n    return a\n"
            ),
            "(a: str)",
            "(a: bytes)",
        ),
        ("a.go", GO, "func (c *Cart) Add(n int) {\n\tc.n = 5\n}\n", "c.n = 1", "c.n = 5"),
        (
            "a.c",
            C_TWINS,
            C_TWINS[C_TWINS.index("#ifdef") : C_TWINS.index("int g")].replace("2", "5"),
            "return 2",
            "return 5",
        ),
        (
            "a.c",
            "#include <a.h>\nint f(int a) {\n    return 1;\n}\nint f(int a);\nint g(void);\n",
            "int f(int a) {\n    return 5;\n}\n",
            "return 1",
            "return 5",
        ),
        (
            "a.cpp",
            "int f(int a) {\n    return 1;\n}\n\nint f(double a) {\n    return 2;\n}\n",
            "int f(int a) {\n    return 5;\n}\n",
            "return 1",
            "return 5",
        ),
        (
            "A.java",
            JAVA,
            "class A {\n    int f(int a) {\n        return 5;\n    }\n}\n",
            "return 1",
            "return 5",
        ),
        (
            "a.cs",
            (
                "namespace N {\n  class A {\n    int F() { return 1; }\n    int G() { return 2; }\n"
                "  }\n}\n"
            ),
            "class A {\n    int F() { return 5; }\n}\n",
            "return 1",
            "return 5",
        ),
        (
            "a.js",
            "class A {\n  get x() {\n    return 1;\n  }\n  set x(v) {\n    this.v = v;\n  }\n}\n",
            "class A {\n  get x() {\n    return 5;\n  }\n}\n",
            "return 1",
            "return 5",
        ),
        (
            "a.rs",
            (
                "struct A;\n\nimpl A {\n    fn new() -> A {\n        A\n    }\n}\n\n"
                "impl Display for A {\n    fn fmt(&self) {\n    }\n}\n"
            ),
            "struct A {\n    x: u32,\n}\n",
            "struct A;",
            "struct A {\n    x: u32,\n}",
        ),
    ],
    ids=[
        "setter",
        "getter",
        "overload",
        "overloads",
        "receiver",
        "ifdef",
        "prototype",
        "cpp",
        "java",
        "namespace",
        "js",
        "rust",
    ],
)
def test_of_definitions_with_one_name_the_one_that_is_written_is_replaced(
    path: str, source: str, code: str, old: str, new: str
) -> None:
    assert source.count(old) == 1
    assert changed(code, source, path) == source.replace(old, new)


def test_what_shares_a_name_but_not_its_role_is_added() -> None:
    text = changed("func (z *Zoo) Add(n int) {\n\tz.n = 5\n}\n", GO, "a.go")
    assert GO.rstrip() in text
    source = CART.replace("class Order:\n    def add(self, item):\n        pass\n", "")
    text = changed("def add(item):\n    return item\n", source)
    assert "    def add(self, item):\n        self.items.append(item)\n" in text
    assert "\ndef add(item):\n    return item\n" in text


AMBIGUOUS = [
    ("a.py", "def f(:\n    return (1\n\n\ndef g():\n    return 2\n", "def f():\n    return 1\n"),
    ("a.js", "function f() {\n  if (1) {\n}\n\nfunction g() {\n}\n", "function f() {\n}\n"),
    (
        "a.py",
        "import sys\nif sys.x:\n    def f():\n        return 1\n"
        "else:\n    def f():\n        return 2\n" + REST,
        "def f():\n    return 5\n",
    ),
    ("a.c", C_TWINS, "int f(int a) {\n    return 5;\n}\n"),
    ("a.py", "import os\nX = 1\nX = X + 1\n" + REST, "X = 5\n"),
    ("a.py", "import os\nX = 1; Y = 2\n" + REST, "X = 5\n"),
    ("a.py", "import os\nX, Y = 1, 2\n" + REST, "X = 5\n"),
    ("a.js", "const a = 1, b = 2;\nfunction g() {\n}\n", "const a = 5;\n"),
    ("a.go", "package a\n\nconst (\n\tA = 1\n\tB = 2\n)\n", "const A = 5\n"),
    (
        "a.py",
        "import os\n\n\ndef g():\n    pass\n" + REST,
        "def f():\n    return 1\n\n\ndef other(a):\n    pass\n\n\ndef other(a):\n    pass\n",
    ),
    ("a.py", PROPERTY, "@property\ndef x(self):\n    return 5\n\n\ndef x(self):\n    return 6\n"),
    ("a.py", "class A:\n    class M:\n        b = 1\n" + REST, "class M:\n    b = 2\n"),
    ("a.py", PROPERTY + REST, "class A(B):\n    @property\n    def x(self):\n        return 5\n"),
]


@pytest.mark.parametrize(("path", "source", "code"), AMBIGUOUS)
async def test_a_part_that_could_be_meant_in_two_ways_is_not_written(
    box: Toolbox, path: str, source: str, code: str
) -> None:
    box.add({path: source})
    await box.call("read", path=path)
    result = await box.call("write", path=path, content=code)
    assert not result.ok
    assert "Nothing was written." in result.content
    assert box.text(path) == source


async def test_one_method_of_the_only_class_of_a_file_is_a_part(box: Toolbox) -> None:
    source = (
        "import os\nimport re\n\n\nclass A:\n"
        "    def f(self):\n        pass\n\n    def g(self):\n        pass\n"
    )
    box.add({"a.py": source})
    await box.call("read", path="a.py")
    code = "class A:\n    def f(self):\n        return 1\n"
    assert (await box.call("write", path="a.py", content=code)).ok
    assert box.text("a.py") == source.replace("pass", "return 1", 1)


async def test_a_part_that_is_there_already_changes_nothing_and_says_so(box: Toolbox) -> None:
    source = "def f():\n    return 1\n\n\ndef g():\n    return 2\n"
    box.add({"a.py": source})
    await box.call("read", path="a.py")
    result = await box.call("write", path="a.py", content="def f():\n    return 1\n")
    assert not result.ok
    assert "use edit to remove" in result.content
    assert box.text("a.py") == source


def test_strings_keep_their_lines_when_a_method_is_indented() -> None:
    text = changed('def total(self):\n    """Sum.\n\n    All."""\n    return """\na\n  b\n"""\n')
    assert '        """Sum.\n\n        All."""\n        return """\na\n  b\n"""\n' in text


def test_imports_over_several_lines_and_of_the_future_go_where_they_may() -> None:
    source = "from a import (\n    b,\n)\n\n\ndef f():\n    return 1\n"
    code = (
        "from __future__ import annotations\nfrom c import (\n    d,\n    e,\n)\n\n"
        "def f():\n    return d\n"
    )
    text = changed(code, source, "a.py")
    assert text.startswith(
        "from __future__ import annotations\nfrom a import (\n    b,\n)\n"
        "from c import (\n    d,\n    e,\n)\n"
    )
    assert changed(source, source, "a.py") == source


async def test_a_method_alone_in_its_class_is_added_to_the_class(box: Toolbox) -> None:
    source = "import os\nimport re\n\n\nclass T(Case):\n    def test_a(self):\n        pass\n"
    box.add({"a.py": source})
    await box.call("read", path="a.py")
    code = "class T(Case):\n    def test_b(self):\n        pass\n"
    assert (await box.call("write", path="a.py", content=code)).ok
    assert box.text("a.py") == source + "\n    def test_b(self):\n        pass\n"


async def test_a_function_of_a_file_that_is_broken_elsewhere_is_replaced(box: Toolbox) -> None:
    source = "import os\n\n\ndef g():\n    print 'a'\n\n\ndef f(a):\n    return 1\n"
    box.add({"a.py": source})
    await box.call("read", path="a.py")
    assert (await box.call("write", path="a.py", content="def f(a):\n    return 2\n")).ok
    assert box.text("a.py") == source.replace("return 1", "return 2")


def test_directives_above_a_definition_are_none_of_it() -> None:
    source = "#ifdef W\n#define X 1\n#define Y 2\n#endif\nint g(void) {\n    return 3;\n}\n"
    assert changed("#define Y 5\n", source, "a.c") == source.replace("Y 2", "Y 5")
    code = "/* New. */\nint g(void) {\n    return 5;\n}\n"
    assert changed(code, source, "a.c") == source.replace("int g", "/* New. */\nint g").replace(
        "return 3", "return 5"
    )


@pytest.mark.parametrize(
    ("path", "opening"), [("a.php", "<?php\n"), ("A.java", "package p;\n")], ids=["php", "java"]
)
async def test_a_part_may_repeat_what_every_file_opens_with(
    box: Toolbox, path: str, opening: str
) -> None:
    kind = "function" if path == "a.php" else "int"
    source = (
        f"{opening}class A {{\n  {kind} f() {{ return 1; }}\n  {kind} g() {{ return 2; }}\n}}\n"
    )
    box.add({path: source})
    await box.call("read", path=path)
    code = f"{opening}class A {{\n  {kind} f() {{ return 5; }}\n}}\n"
    assert (await box.call("write", path=path, content=code)).ok
    assert box.text(path) == source.replace("return 1", "return 5")


@pytest.mark.parametrize(
    ("code", "gone"),
    [
        ("from money import cents\n\ndef line():\n    return cents(2)\n", True),
        ("from money import cents as c\n\ndef line():\n    return c(2)\n", False),
        ("from money import euros\n\ndef line():\n    return cents(2)\n", False),
        ("import cents\n\ndef line():\n    return cents(2)\n", False),
    ],
)
def test_a_definition_makes_way_for_an_import_of_its_name(code: str, gone: bool) -> None:
    source = (
        "import os\n\n\ndef cents(n):\n    return n * 100\n\n\n"
        "def line():\n    return cents(1)\n\n\n"
        "def other():\n    return os.sep\n"
    )
    alone = redefined("a.py", source, code)
    assert alone is not None
    assert "def cents" in alone.text, "nothing else is known to define it"
    made = redefined("a.py", source, code, lambda *wanted: wanted == ("money", "cents"))
    assert made is not None
    assert ("def cents" not in made.text) is gone
    assert ("Removed what is imported now: cents." in made.notes) is gone
    assert "def other" in made.text
    ast.parse(made.text)


@pytest.mark.parametrize(
    "kept",
    [
        "if True:\n    def cents(n):\n        return n\nelse:\n    cents = None\n",
        "cents = 1; LIMIT = 2\n",
        "class Cart:\n    def cents(self):\n        return 1\n",
    ],
)
def test_what_is_no_definition_of_its_own_does_not_make_way(kept: str) -> None:
    source = f"{kept}\n\ndef line():\n    return 1\n\n\ndef other():\n    return 2\n"
    code = "from money import cents\n\ndef line():\n    return cents(2)\n"
    made = redefined("a.py", source, code, lambda module, name: True)
    assert made is not None
    assert kept in made.text


async def test_a_definition_makes_way_where_another_file_has_it(box: Toolbox) -> None:
    both = "def cents(n):\n    return n * 100\n\n\ndef line():\n    return cents(1)\n"
    box.add({"shop/a.py": both, "money.py": both, "shop/b.py": both, "shop/c.py": both})
    for path, module, gone in (
        ("shop/a.py", "money", True),
        ("shop/b.py", ".c", True),
        ("shop/c.py", ".c", False),  # itself
        ("money.py", "elsewhere", False),
    ):
        await box.call("read", path=path)
        content = f"from {module} import cents\n\ndef line():\n    return cents(2)\n"
        result = await box.call("write", path=path, content=content)
        assert result.ok, result.content
        assert ("def cents" not in box.text(path)) is gone, path


def test_what_a_file_does_when_it_is_run_stays() -> None:
    main = 'if __name__ == "__main__":\n    print(line())\n'
    source = f"import os\n\n\ndef line():\n    return 1\n\n\n{main}"
    made = redefined("a.py", source, "def line():\n    return 2\n")
    assert made is not None
    assert made.text == source.replace("return 1", "return 2")
