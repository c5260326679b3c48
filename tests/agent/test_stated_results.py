"""What a task says that calls of Python functions give: what people write, and the commands that
are made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.agent.check.stated_outputs import stated_outputs
from laguna_agent.tools.stated_output import Printed, StatedOutput, as_command
from support.packs import write_files

FILES = {
    "rank.py": "def rank(values):\n    return sorted(values)\n",
    "text.py": """
from functools import lru_cache

SEPARATOR = "-"

def slugify(text):
    return text.replace(" ", SEPARATOR)

@lru_cache(maxsize=None)
def cached(text):
    return text

@register
def routed(text):
    return text

def shown(text):
    print(text)

def pieces(text):
    yield text

async def fetch(text):
    return text

def planned(text):
    raise NotImplementedError

class Cart:
    def total(self, n):
        return n
""",
    "one.py": "def twice(n): return 2 * n\n",
    "two.py": "def twice(n): return n + n\ndef f(n): return n\n",
    "script.py": "import sys\ndef parse(n): return n\nprint(parse(sys.argv[1]))\n",
    "tests/tools.py": "def made(n): return n\n",
    "test_rank.py": "def checked(n): return n\n",
    "shop/__init__.py": "",
    "shop/prices.py": "def price(n): return n\n",
    "src/lib/__init__.py": "",
    "src/lib/dates.py": "def weekday(y, m, d): return 0\n",
}
RANK = "python3 -c 'from rank import rank; print(rank([30, 10, 20]))'"
SLUG = "python3 -c \"from text import slugify; print(slugify('A b'))\""
F2 = "python3 -c 'from two import f; print(f(2))'"
LARGEST = (
    "rank([30, 10, 20]) should give the positions of the values when sorted from the largest: "
    "[0, 2, 1]. It gives [2, 0, 1]. Fix rank.py."
)
STATED = [
    ("`rank([30, 10, 20])` should return `[2, 0, 1]`.", {RANK: "[2, 0, 1]"}),
    ("rank([30, 10, 20]) must return [2,0,1]", {RANK: "[2,0,1]"}),
    (LARGEST, {RANK: "[0, 2, 1]"}),
    ("rank([30, 10, 20]) gives [2, 0, 1]. It should give [0, 2, 1].", {RANK: "[0, 2, 1]"}),
    ("rank([30, 10, 20]) gives [2, 0, 1] instead of [0, 2, 1].", {RANK: "[0, 2, 1]"}),
    ("rank([30, 10, 20]) raises TypeError instead of returning None.", {RANK: "None"}),
    ("rank([30, 10, 20]) should be [0, 2, 1], not [2, 0, 1]", {RANK: "[0, 2, 1]"}),
    ("Make rank([30, 10, 20]) return [0, 2, 1]!", {RANK: "[0, 2, 1]"}),
    ("Fix it so that `rank([30, 10, 20]) == [0, 2, 1]`.", {RANK: "[0, 2, 1]"}),
    ("`rank([30, 10, 20]) == [0, 2, 1]` should be true.", {RANK: "[0, 2, 1]"}),
    ("`rank([30, 10, 20])` should return:\n```\n[0, 2, 1]\n```", {RANK: "[0, 2, 1]"}),
    ("slugify('A b') should give 'a-b' but gives 'a b'.", {SLUG: "a-b"}),
    ("`slugify('A b')` returns `A b` instead of `a-b`", {SLUG: "a-b"}),
    ("`slugify('A b')` should return `'a-b'`.", {SLUG: "a-b"}),
    ("`slugify('A b')` should return `''`.", {SLUG: ""}),
    ("The result of `slugify('A b')` should be “a-b”.", {SLUG: "a-b"}),
    (
        'slugify("it\'s $5") should give "its-5".',
        {"python3 -c 'from text import slugify; print(slugify(\"it'\"'\"'s $5\"))'": "its-5"},
    ),
    ("f(2) returns 3 but should return -4.5.", {F2: "-4.5"}),
    ("f(2) should yield True, got False.", {F2: "True"}),
    ("f(2) should evaluate to 4 and f(3) should equal 9.",
     {F2: "4", "python3 -c 'from two import f; print(f(3))'": "9"}),
    ("- `f(2)` should return 4\n- `f(n=3)` should return {'a': 1}",
     {F2: "4", "python3 -c 'from two import f; print(f(n=3))'": "{'a': 1}"}),
    ("Implement planned in text.py:\n* `planned('x')` -> `IV`",
     {"python3 -c \"from text import planned; print(planned('x'))\"": "IV"}),
    ("cached('x') should be 'y'",
     {"python3 -c \"from text import cached; print(cached('x'))\"": "y"}),
    ("In two.py, twice(2) should return 5.",
     {"python3 -c 'from two import twice; print(twice(2))'": "5"}),
    ("price(2) should return 5.",
     {"python3 -c 'from shop.prices import price; print(price(2))'": "5"}),
    ("weekday(2024, 1, 1) should return 'Mon'.",
     {"cd src && python3 -c 'from lib.dates import weekday; print(weekday(2024, 1, 1))'": "Mon"}),
]  # fmt: skip

NOT_STATED = [
    "f(2) returns 3.",
    "f(2) returns 3. Make it faster.",
    "f(2) should not return 3.",
    "f(2) must never return None.",
    "f(2) should no longer return 3.",
    "I do not want f(2) to return 3.",
    "Neither f(2) nor f(3) should return 4.",
    "One of f(2) and f(3) should return 4.",
    "Perhaps f(2) should return 4.",
    "It is not clear whether f(2) should return 4.",
    "Should f(2) return 4?",
    "Why does f(2) return 3? It should return 4.",
    "Explain why f(2) should return 4",
    "f(2) should return 4. Do not change anything",
    "If strict is set, f(2) should return 4.",
    "f(2) should return 4 if strict is set.",
    "f(2) should return 4 or 5.",
    "f(2) should return 4 items.",
    "f(2) should return 3 and then 4.",
    "slugify('A b') should return '', currently it returns 'A b'",
    "f(2) should return one number or this: 3.",
    "f(2) should return the default if the list is: [].",
    "f(2) should return something other than: 3.",
    "f(2) should return the same as f(3).",
    "f(2) should return f(3).",
    "f(2) should return [n, 3].",
    "f(2) should return [1, 2, ...].",
    "f(...) should return 3.",
    "f(n) should return 3.",
    "f([n]) should return 3.",
    "f(2, twice(1)) should return 3.",
    "sum(f(2)) should be 3.",
    "sum(f(2)) is 2. It should be 3.",
    "f(2) works but len(f(2)) is 2, it should be 3.",
    "f(2)[0] should be 3.",
    "f(2).x should be 3.",
    "f(2) and f(3) fail. It should return 3.",
    "f(2) should return 3. f(2) should return 4.",
    "`f(2)` should return `n`.",
    "`slugify('A b')` should return `text`.",
    "`slugify('A b')` should return `SEPARATOR`.",
    "`slugify('A b')` should return `ValueError`.",
    "`slugify('A b')` should return `set()`.",
    "`slugify('A b')` should return `null`.",
    "`slugify('A b')` should return `a-...`.",
    "f(2) should raise ValueError.",
    "Cart().total(2) should return 3.",
    "cart.total(2) should return 3.",
    "total(2) should return 3.",
    "`Cart()` should return 3.",
    "routed('x') should return 'y'.",
    "shown('x') should give 'x'.",
    "pieces('x') should yield 'x'.",
    "fetch('x') should return 'y'.",
    "parse(2) should return 3.",
    "twice(2) should return 5.",
    "made(2) should return 3.",
    "checked(2) should return 3.",
    "missing(2) should return 3.",
    "Replace f(2) in one.py by a number. It should be 4.",
    "In one.py the default f(2) should be 4.",
    "Move f to one.py, so that f(2) returns 4.",
    "In a.js, f(2) should return 4.",
    "f(2) should be less than 4.",
    "f(2) should be 4 times as fast.",
    "`f(2)` should be `f(4)`.",
    "The docstring says that f(2) should return 4.",
    "Fix the README: f(2) should return 4.",
    "Add a test for f: f(2) should return 4.",
    "Write a test that f(2) should return 4.",
    "Implement f, which returns 3 now: f(2) -> 4",
    "The parser is off, so f(2) gives 4 instead of 3.",
    "> f(2) should return 4.\nI agree.",
    ">>> f(2)\n4",
    "Look at this:\n\n    f(2) should return 4.",
]

OTHER_FORM = [
    "Implement planned as a generator. planned(1) should yield 1.",
    'Make planned a coroutine; planned("x") should return "x".',
    "Make f async: await f(2) should return 1.5.",
    "f(2) should be [1, 1, 2]. Return an iterator, not a list.",
    "Let f return a namedtuple: f(2) should return (3, True).",
    "Make f a method of Range; f(2) should return 3.",
    "Make f a static method of Range; f(2) should return 3.",
    "Port two.py to TypeScript: f(2) should return 0.",
    "Translate two.py into Go. f(2) should return 0.",
    "Make f lazy. f(2) should give [1, 2].",
    "Use `yield` in f; f(2) should give [1, 2].",
    "Let f yield its values. f(2) should be [1, 2].",
    "Turn the result into a dataclass: f(2) should be (1, 2).",
    "Return a member of an Enum. f(2) should be 2.",
    "Put f into class Range. f(2) should return 3.",
    "Rewrite two.py in Rust; f(2) should return 0.",
    "Convert the module to C++. f(2) should return 0.",
    "Write a JavaScript version. In the JavaScript version f(2) should return 0.",
    "Use Decimal for money. f(2) should return [1.5].",
]
CONDITIONS = [
    "In debug mode f(2) should return 0.",
    "In debug mode, f(2) should return 0.",
    'For German users, f(2) should return "eins".',
    "On Windows f(2) should return 0.",
    "Under Python 2, f(2) should return 0.",
    "With strict mode enabled f(2) should return 0.",
    "With the new flag --strict, f(2) should return 0.",
    "From the second call on, f(2) should return 0.",
    "Write a plan in PLAN.md for the change that f(2) should return 0.",
    "Create an issue template with the example: f(2) should return 0.",
    "Fix two.py so that in strict mode f(2) should return 0.",
    "Change the result in debug mode: f(2) should return 0.",
    "Add a debug mode in which f(2) should return 0.",
    "Add a debug mode: f(2) should return 0.",
    "In debug mode f(2) returns 3. It should return 0.",
    "If strict is set, f(2) returns 3. It should return 0.",
    "In debug mode:\n- f(2) should return 0.\n- f(3) should return 1.",
    "At noon f(2) should return 0.",
    "As an admin, f(2) should return 0.",
    "The second call, f(2), is wrong; f(2) should return 0.",
    "Called with debug on, f(2) should return 0.",
    "Draft an email to the team: f(2) should return 0.",
    "Put it in notes.md that f(2) should return 0.",
    "In `CHANGES.md` write that f(2) should return 0.",
    "Prepare a proposal for this: f(2) should return 0.",
]
UNCONDITIONAL = [
    "In `two.py`, f(2) should return 4.",
    "In the file two.py f(2) should return 4.",
    "For example, f(2) should return 4.",
    "By default f(2) should return 4.",
    "With this fix f(2) should return 4.",
    "At the moment f(2) gives 3 but should return 4.",
    "For f(2), it should return 4.",
    "Add support for even numbers: f(2) should return 4.",
    "There is a bug in the function: f(2) should return 4.",
    "Write the missing part. Read SPEC.md first. f(2) should return 4.",
    "Convert minutes to seconds: f(2) should return 4.",
]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", FILES)


@pytest.mark.parametrize(("task", "commands"), STATED)
def test_plainly_stated_results_are_found(start: Path, task: str, commands: dict[str, str]) -> None:
    stated = stated_outputs(task, start)
    assert {s.command: s.output for s in stated} == commands
    assert all(s.is_value for s in stated)


@pytest.mark.parametrize("task", NOT_STATED)
def test_in_doubt_no_result_is_stated(start: Path, task: str) -> None:
    assert stated_outputs(task, start) == []


@pytest.mark.parametrize("task", OTHER_FORM)
def test_a_result_that_right_work_may_print_otherwise_is_not_stated(start: Path, task: str) -> None:
    assert stated_outputs(task, start) == []


@pytest.mark.parametrize("task", CONDITIONS)
def test_what_holds_only_somewhere_or_stands_in_a_document_is_not_stated(
    start: Path, task: str
) -> None:
    assert stated_outputs(task, start) == []


@pytest.mark.parametrize("task", UNCONDITIONAL)
def test_other_words_before_a_call_do_not_limit_it(start: Path, task: str) -> None:
    assert [(s.command, s.output) for s in stated_outputs(task, start)] == [(F2, "4")]


def test_grouped_digits_are_no_tuple(start: Path) -> None:
    for task in ("f(2) should return [1,000].", "`f(2)` should return `1,000`.", "f(1,000) is 4."):
        assert stated_outputs(f"Implement f. {task}", start) == []


def test_in_a_large_workspace_only_files_that_the_task_names_are_searched(start: Path) -> None:
    write_files(start, {f"pkg/m{n}.py": "" for n in range(120)})
    assert stated_outputs("f(2) should return 4.", start) == []
    assert stated_outputs("f(2) in two.py is wrong. f(2) should return 4.", start)


def test_an_example_of_something_to_write_is_not_sure(start: Path) -> None:
    [stated] = stated_outputs("Implement planned('x') in text.py: planned('x') returns 'y'.", start)
    assert not stated.sure


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("[0, 2, 1]\n", "[0,2,1]"),
        ("a-b\n", "a-b"),
        ("", ""),
        ("0.30000000000000004\n", "0.3"),
        ("1.6666666666666667\n", "1.67"),
        ("40.0\n", "40.00"),
        ("{'b': [1.0], 'a': 2}\n", "{'a': 2, 'b': [1]}"),
        ("(1, 2)\n", "[1, 2]"),
        ("OrderedDict({'a': 1})\n", "{'a': 1}"),
        ("dict_keys(['a'])\n", "['a']"),
        ("debugging\n4\n", "4"),
        ("2\n", "2.0"),
        ("I\nII\n", "I\nII"),
        ("[0.5 0.5]\n", "[0.5, 0.5]"),
        ("[ 0. -1.5]\n", "[0, -1.5]"),
        ("debugging\n[[1 2]\n [3 4]]\n", "[[1, 2], [3, 4]]"),
        ("[ True False]\n", "[True, False]"),
        ("[0.33333333 0.66666667]\n", "[0.3333333333333333, 0.6666666666666666]"),
        ("[np.float64(0.5), np.int64(2)]\n", "[0.5, 2]"),
        ("(array([1, 2]), 3)\n", "([1, 2], 3)"),
        ("['a' 'b']\n", "['a', 'b']"),
    ],
)
def test_the_same_value_may_be_shown_otherwise(printed: str, expected: str) -> None:
    stated = StatedOutput("python3 -c x", expected, is_value=True)
    assert Printed(stated, printed, "", 0).holds
    assert not Printed(stated, printed, "", 1).holds


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("[2, 0, 1]\n", "[0, 2, 1]"),
        (" a-b\n", "a-b"),
        ("A-b\n", "a-b"),
        ("None\n", ""),
        ("0.31\n", "0.3"),
        ("41.0\n", "40.00"),
        ("{'a': 1}\n", "{'a': 2}"),
        ("[1]\n", "[1, 2]"),
        ("4\n5\n", "4"),
        ("", "4"),
        ("[0.5 0.4]\n", "[0.5, 0.5]"),
        ("[0.5 0.5]\n", "[0.5]"),
        ("[1 2]\n[3 4]\n", "[[1, 2], [3, 4]]"),
        ("<generator object f at 0x7f>\n", "[1, 2]"),
    ],
)
def test_another_value_does_not_hold(printed: str, expected: str) -> None:
    assert not Printed(StatedOutput("python3 -c x", expected, is_value=True), printed, "", 0).holds


def test_a_call_that_cannot_be_imported_makes_no_check() -> None:
    stated = StatedOutput("python3 -c x", "4", is_value=True)
    error = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'numpy'\n"
    assert not Printed(stated, "", error, 1).makes_check
    assert Printed(stated, "", error.replace("ModuleNotFound", "Key"), 1).makes_check


def test_an_empty_result_is_shown_as_one() -> None:
    assert as_command([StatedOutput("x", "", is_value=True)]) == "x # prints ''"
