"""Which commands a task says to crash, and asks to repair."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.agent.check.stated_outputs import stated_outputs
from laguna_agent.tools.stated_output import Printed, StatedOutput, as_command, report
from support.packs import write_files

FILES = {
    "a.py": "print(1)\n",
    "b.js": "console.log(1)\n",
    "data.csv": "x\n",
    "test_a.py": "",
    "serve.py": "HTTPServer(('', 80), Handler).serve_forever()\n",
    "ask.py": "print(input())\n",
    "calc.py": "import sys\nprint(int(sys.argv[1]) + 1)\n",
    "tool.py": "from options import parse\nprint(parse())\n",
    "options.py": "import argparse\ndef parse(): return 1\n",
    "pack/__main__.py": "import sys\nprint(sys.argv[1])\n",
    "args.js": "console.log(process.argv[2].length)\n",
}
RUN = "python3 a.py data.csv"

CRASHES = [
    (f"`{RUN}` crashes. Fix it.", [RUN]),
    (f"`{RUN}` fails with a TypeError. Fix the bug.", [RUN]),
    (f"`{RUN}` fails with `KeyError: 'x'`. Please fix it.", [RUN]),
    (f"`{RUN}` ends with a traceback. Find out why and fix a.py.", [RUN]),
    (f"`{RUN}` ends in a traceback; fix it.", [RUN]),
    (f"`{RUN}` raises an exception. Repair the program.", [RUN]),
    (f"`{RUN}` gives a ZeroDivisionError, fix it", [RUN]),
    (f"`{RUN}` dies with a stack trace because the date is empty. Fix that.", [RUN]),
    (f"`{RUN}` crashes and should list the names. Fix it", []),
    (f"`{RUN}` crashes, but should list the names.", [RUN]),
    (f"`{RUN}` crashes on data.csv, which is in Latin-1. Let it print the names.", [RUN]),
    (f"Find out why `{RUN}` crashes and fix it.", [RUN]),
    (f"Can you fix it? `{RUN}` crashes.", []),
    (f"`{RUN}` crashes.\nTraceback (most recent call last):\nKeyError: 'x'\nFix it.", [RUN]),
    (f"`{RUN}` crashes and `python3 a.py` crashes too. Fix the code.", [RUN, "python3 a.py"]),
    ("`python3 a.py` still crashes. Make it work.", ["python3 a.py"]),
]

NOTHING = [
    f"`{RUN}` crashes.",
    f"`{RUN}` crashes. Rename it to b.py.",
    f"`{RUN}` crashes. Fix the typo in README.md.",
    f"`{RUN}` crashes. Do not fix it.",
    f"`{RUN}` crashes. Never mind that; fix it later.",
    f"`{RUN}` no longer crashes. Fix it in b.py too.",
    f"`{RUN}` sometimes crashes. Fix it.",
    f"`{RUN}` must not crash. Fix it.",
    f"Why does it say that `{RUN}` crashes? Fix it.",
    f"Does `{RUN}` crash? Fix it.",
    f"Explain why `{RUN}` crashes.",
    f"If `{RUN}` crashes, fix it.",
    f"`{RUN}` crashes when the file is empty. Fix it.",
    f"`{RUN}` crashes for empty files. Fix it.",
    f"`{RUN}` crashes, as it should. Fix the output of b.js.",
    f"`{RUN}` fails, which is right. Fix it in b.js.",
    f"Fix it so that `{RUN}` fails.",
    f"Make sure that `{RUN}` fails. Fix it.",
    f"`{RUN}` crashes. Fix it: it should print an error.",
    f"`{RUN}` crashes. Let it print a message and exit with 2.",
    f"`{RUN}` crashes. It should refuse such files. Fix it.",
    f"`{RUN}` crashes. Catch the exception. Fix it.",
    f"`{RUN}` crashes. It should fail with a clear text. Fix it.",
    f"`{RUN}` exits with 1. Fix it.",
    f"`{RUN}` fails with exit status 3 instead of 2. Fix it.",
    f"The README says that `{RUN}` crashes. Fix it.",
    f"Add a test for this: `{RUN}` crashes. Fix it.",
    f"`{RUN}` crashes. Do not change anything, but say how to fix it.",
    "`python3 a.py gone.csv` crashes. Fix it.",
    "`python3 gone.py` crashes. Fix it.",
    "`python3 test_a.py` fails. Fix it.",
    "`python3 -m pytest -q` fails. Fix it.",
    "`npm test` fails. Fix it.",
    "`python3 serve.py` crashes. Fix it.",
    "`python3 ask.py` crashes. Fix it.",
    "`make run` crashes. Fix it.",
    f"Rename a.py to c.py. `{RUN}` crashes; fix it.",
    "a.py crashes. Fix it.",
    "`python3 calc.py` crashes with an IndexError. Fix it.",
    "`python3 calc.py` crashes because no file is given; fix it.",
    "`python3 a.py` crashes because no file is given; fix it.",
    "`python3 a.py` crashes since it is called without arguments. Fix it.",
    "`python3 a.py` crashes because it gets too few arguments. Fix it.",
    "`python3 tool.py` crashes. Fix it.",
    "`python3 -m pack` crashes. Fix it.",
    "`node args.js` crashes. Fix it.",
    "`echo 3 | python3 calc.py` crashes. Fix it.",
    f"On Windows `{RUN}` crashes. Fix it.",
]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", FILES)


@pytest.mark.parametrize(("task", "commands"), CRASHES)
def test_a_crash_to_repair_is_found(start: Path, task: str, commands: list[str]) -> None:
    stated = stated_outputs(task, start)
    assert [(s.command, s.output, s.status) for s in stated] == [(c, None, 0) for c in commands]


@pytest.mark.parametrize("task", NOTHING)
def test_in_doubt_a_command_may_fail(start: Path, task: str) -> None:
    assert stated_outputs(task, start) == []


def test_what_should_be_printed_comes_first(start: Path) -> None:
    task = f"`{RUN}` crashes. It should print `no rows` instead. Fix it."
    assert stated_outputs(task, start) == [StatedOutput(RUN, "no rows")]


@pytest.mark.parametrize(
    "task",
    [
        f"`{RUN}` ends with a traceback. Let it print `no rows` to stderr instead and exit with 2.",
        f"`{RUN}` crashes. It should print `no rows` on standard error and exit with status 2.",
    ],
)
def test_a_message_of_an_error_is_stated_with_its_status(start: Path, task: str) -> None:
    [stated] = stated_outputs(task, start)
    assert stated == StatedOutput(RUN, "no rows", status=2, to_errors=True)
    assert as_command([stated]) == f"{RUN} # prints no rows on standard error and exits with 2"
    assert Printed(stated, "", "no rows\n", 2).holds
    assert not Printed(stated, "no rows\n", "", 2).holds
    assert not Printed(stated, "", "no rows\n", 1).holds


CRASH = StatedOutput(RUN, None, sure=False, status=0)
TRACE = "Traceback (most recent call last):\n  File 'a.py', line 1\n"


@pytest.mark.parametrize(
    ("stderr", "exit_code"),
    [
        (f"{TRACE}KeyError: 'x'\n", 1),
        ("b.js:1\nTypeError: x is not a function\n    at b.js:1:9\n", 1),
        ("", 139),
    ],
)
def test_a_crash_before_the_change_makes_a_check(stderr: str, exit_code: int) -> None:
    printed = Printed(CRASH, "", stderr, exit_code)
    assert printed.makes_check
    assert not printed.holds


@pytest.mark.parametrize(
    ("stderr", "exit_code"),
    [
        ("", 0),
        ("", 1),
        ("usage: a.py [-h]\na.py: error: the following arguments are required: file\n", 2),
        (f"{TRACE}ModuleNotFoundError: No module named 'numpy'\n", 1),
        (f"{TRACE}FileNotFoundError: gone.csv\n", 1),
        (f"{TRACE}EOFError: EOF when reading a line\n", 1),
        (TRACE, None),
    ],
)
def test_what_ends_otherwise_before_the_change_makes_none(
    stderr: str, exit_code: int | None
) -> None:
    assert not Printed(CRASH, "", stderr, exit_code).makes_check


def trace(line: str, error: str, *above: str) -> str:
    """A traceback that ends in a line of a program."""
    frames = [f'  File "/w/calc.py", line 3, in f\n    {text}\n' for text in (*above, line)]
    return f"Traceback (most recent call last):\n{''.join(frames)}{error}\n"


ARGUMENTS = [
    ("python3 calc.py a b", trace("x = int(sys.argv[1])",
                                  "ValueError: invalid literal for int() with base 10: 'a'")),
    ("python3 calc.py a b", trace("x = int(text)",
                                  "ValueError: invalid literal for int() with base 10: 'a'")),
    ("python3 calc.py a", trace("y = sys.argv[2]", "IndexError: list index out of range")),
    ("python3 calc.py a", trace("first, second = args",
                                "ValueError: not enough values to unpack (expected 2, got 1)")),
    ("python3 calc.py a", trace("return words[1]", "IndexError: list index out of range",
                                "main(sys.argv[1:])")),
    ("python3 calc.py x", trace("return float(text)",
                                "ValueError: could not convert string to float: 'x'")),
    ("python3 calc.py x", trace("return PRICES[name]", "KeyError: 'x'")),
    ("python3 calc.py 1 0", trace("return a / b", "ZeroDivisionError: division by zero")),
    ("python3 calc.py x", ('Traceback (most recent call last):\n'
     '  File "/w/calc.py", line 3, in <module>\n    day = strptime(sys.argv[1], FORM)\n'
     '  File "/usr/lib/python3.11/_strptime.py", line 5, in f\n    raise ValueError(text)\n'
     "ValueError: unconverted data\n")),
    ("node b.js", ("/w/b.js:1\nconsole.log(process.argv[2].length)\n                ^\n\n"
     "TypeError: Cannot read properties of undefined\n    at b.js:1:9\n")),
]  # fmt: skip


@pytest.mark.parametrize(("command", "stderr"), ARGUMENTS)
def test_a_crash_over_arguments_makes_none_since_they_may_be_refused(
    command: str, stderr: str
) -> None:
    assert not Printed(StatedOutput(command, None, sure=False, status=0), "", stderr, 1).makes_check


def test_another_crash_of_a_program_with_arguments_does() -> None:
    stderr = trace("return rows[1]", "IndexError: list index out of range", "main(sys.argv[1])")
    assert Printed(CRASH, "", stderr, 1).makes_check


def test_a_model_reads_how_a_command_ended() -> None:
    printed = [
        Printed(CRASH, "", f"{TRACE}KeyError: 'x'\n", 1),
        Printed(StatedOutput("python3 a.py", "1"), "1\n", "", 0),
    ]
    assert report(printed) == (
        f"`{RUN}` prints:\n{TRACE}KeyError: 'x'\n[exit status 1]\nIt should exit with 0.\n"
        "`python3 a.py` prints 1, as it should."
    )
    assert as_command([p.stated for p in printed]) == (
        f"{RUN} && python3 a.py # exits with 0; prints 1"
    )
