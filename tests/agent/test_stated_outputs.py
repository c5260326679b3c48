"""What a task says that commands print: what people write, and the pairs that are taken from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.agent.check.stated_outputs import stated_outputs

RUN = "python3 a.py 4"
STATED = [
    (f"`{RUN}` should print 2.", {RUN: "2"}),
    (f"`{RUN}` must print `Hello, Ann!`", {RUN: "Hello, Ann!"}),
    (f"`{RUN}` must print \"It's 5 o'clock.\"", {RUN: "It's 5 o'clock."}),
    (f"`{RUN}` must print “no rows”.", {RUN: "no rows"}),
    (f"`{RUN}` should print ``a `quoted` word``.", {RUN: "a `quoted` word"}),
    (f"`{RUN}` should print exactly -2.50!", {RUN: "-2.50"}),
    (f"`{RUN}` should print:\n```\na 1\n\nb 2\n```\nKeep the rest.", {RUN: "a 1\n\nb 2"}),
    (f"`{RUN}` should print\n\n~~~text\nx\n~~~", {RUN: "x"}),
    (f"`{RUN}` fails. It should print 2700. Hours are optional.", {RUN: "2700"}),
    (f"`{RUN}` crashes. It should print `no rows` instead.", {RUN: "no rows"}),
    (f"`{RUN}` prints 3 but should print 4.", {RUN: "4"}),
    (f"`{RUN}` prints 3, it should print 4 (not 3)", {RUN: "4"}),
    (f"Running `{RUN}` gives 12 instead of 3.", {RUN: "3"}),
    (f"Make `{RUN}` print 4 instead of 3.", {RUN: "4"}),
    (f"Change a.py so that `{RUN}` prints 4 instead of 3.", {RUN: "4"}),
    (f"I want `{RUN}` to print 3.", {RUN: "3"}),
    (f"After the change `{RUN}` should print 0.", {RUN: "0"}),
    (f"`{RUN}` should print 3 to stdout and exit 0.", {RUN: "3"}),
    (f"The output of `{RUN}` should be 3.", {RUN: "3"}),
    (f"`{RUN}` prints 3.\nExpected output: 4", {RUN: "4"}),
    ("`echo 3 | python3 a.py` should print 9.", {"echo 3 | python3 a.py": "9"}),
    ("`cat out.txt` should print `done`.", {"cat out.txt": "done"}),
    ('`./greet "Ann Lee"` should print `Ann Lee`.', {'./greet "Ann Lee"': "Ann Lee"}),
    (
        "`python3 a.py 1h` prints 36 as it should, but `python3 a.py 45m` fails. It should print 3",
        {"python3 a.py 1h": "36", "python3 a.py 45m": "3"},
    ),
    (f"Add an option: `{RUN}` should print 2.", {RUN: "2"}),
    (f"In a.py the sign is lost: `{RUN}` should print 2.", {RUN: "2"}),
    (
        "- `python3 a.py 1` should print 1\n- `python3 a.py 2` should print 4",
        {"python3 a.py 1": "1", "python3 a.py 2": "4"},
    ),
    ("Write a.py.\n* `python3 a.py 4` -> `IV`", {RUN: "IV"}),
    (
        "`python3 -c 'import m; print(m.f(2))'` should print 4.",
        {"python3 -c 'import m; print(m.f(2))'": "4"},
    ),
]

NOT_STATED = [
    f"`{RUN}` should print the first two lines",
    f"`{RUN}` should print nothing.",
    f"`{RUN}` should print 3 lines.",
    f"`{RUN}` should print 3 and 4",
    f"`{RUN}` should print `a`, then `b`",
    f"`{RUN}` should print 1,000",
    f"`{RUN}` should print 12:30",
    f"`{RUN}` should print `1\\n2`",
    f"`{RUN}` should print `Hello, <name>`.",
    f"`{RUN}` should print `1, 2, ...`",
    f"`{RUN}` must not print 3.",
    f"`{RUN}` should never print `x`",
    f"`{RUN}` should no longer print `x`",
    f"I do not want `{RUN}` to print 3.",
    f"Why does `{RUN}` print 3? It should print 4.",
    f"Should `{RUN}` print 4?",
    f"Explain why `{RUN}` should print 4",
    f"`{RUN}` should print 4. Do not change anything",
    f"When the file is empty, `{RUN}` should print 0.",
    f"With an empty file, `{RUN}` should print 0.",
    f"`{RUN}` should print 0 when the file is empty.",
    f"`{RUN}` asks for a number. It should print `done` when I enter 3.",
    f"`{RUN}` should print `yes` for even numbers",
    f"The README says that `{RUN}` should print 3.",
    f"Fix the README: `{RUN}` should print 3.",
    f"Write a test that `{RUN}` should print 3.",
    f"`{RUN}` prints `x`. Make it faster.",
    f"`{RUN}` prints 1.9, but 1.10 is newer. Fix it",
    f"The parser is off, so `{RUN}` prints 4 instead of 3.",
    f"`{RUN}` and `python3 b.py` fail. It should print 3.",
    f"`{RUN}` should print 3. `{RUN}` should print 4.",
    f"> `{RUN}` should print 3.\nI agree.",
    f"Look at this:\n\n    `{RUN}` should print 3.",
    "a.py should print 4.",
    "`a.py` should print `4`.",
    "`make x` should print 3",
    "`rm -rf x; python3 a.py` should print 3",
    "`python3 a.py > out.txt` should print 3",
    "`python3 a.py | tee out.txt` should print 3",
    "`python3 a.py &` should print 3",
    "`X=1 python3 a.py` should print 3",
    "`python3 a.py $HOME` should print 3",
    '`python3 a.py "$(rm x)"` should print 3',
    "`python3 /tmp/a.py` should print 3",
    "`/usr/bin/env python3 a.py` should print 3",
    "`python3 a.py /etc/passwd` should print 3",
    "`python3 a.py --file=~/x` should print 3",
    "`python3 ../a.py` should print 3",
    "`python3 a.py < ../x` should print 3",
    "`python3 a.py -o x` should print 3",
    "`python3 todo.py remove 2` should print `removed`",
    "`python3 a.py FILE` should print `ok`.",
    "`python3 a.py --help` should print `usage: a.py`",
    "`python3 -c 'import os; os.remove(\"m.py\"); print(4)'` should print 4.",
    "`python3 -c 'print(open(\"m.py\").read())'` should print 4.",
    "`git commit -m x` should print `x`",
    "`no-such-interpreter a.py` should print 3",
    f"In debug mode `{RUN}` should print 2.",
    f"On Windows `{RUN}` should print 2.",
    f"For German users, `{RUN}` should print `zwei`.",
    f"Under Python 2, `{RUN}` should print 2.",
    f"From the second run on, `{RUN}` should print 2.",
    f"In debug mode `{RUN}` prints 3. It should print 2.",
    f"Write a guide in GUIDE.md: `{RUN}` should print 2.",
    f"On Linux:\n- `{RUN}` should print 2.",
    "",
    "`",
    "«c0» should print 3",
]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    (tmp_path / "m.py").write_text("def f(x): return 2 * x\n")
    return tmp_path


@pytest.mark.parametrize(("task", "pairs"), STATED)
def test_plainly_stated_outputs_are_found(start: Path, task: str, pairs: dict[str, str]) -> None:
    assert {s.command: s.output for s in stated_outputs(task, start)} == pairs


@pytest.mark.parametrize("task", NOT_STATED)
def test_in_doubt_nothing_is_stated(start: Path, task: str) -> None:
    assert stated_outputs(task, start) == []


def test_an_example_of_something_to_write_is_not_sure(start: Path) -> None:
    [stated] = stated_outputs(f"Write a.py: `{RUN}` prints `IV`.", start)
    assert not stated.sure


def test_a_document_of_examples_is_no_check(start: Path) -> None:
    task = "\n".join(f"`python3 a.py {n}` should print {n}." for n in range(30))
    assert stated_outputs(task, start) == []


@pytest.mark.parametrize(
    "part", ["`a` ", "should print ", f"`{RUN}` should print ", "but it should ", '"', "'a ", "``",
             "```\n", "a:\n\n", "if "]
)  # fmt: skip
def test_long_texts_of_one_thing_are_no_trouble(start: Path, part: str) -> None:
    assert len(stated_outputs(part * 5_000, start)) <= 1
