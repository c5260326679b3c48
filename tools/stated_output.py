"""What a task says that a command prints or how it exits, and how that compares with a run of it.

The commands are a check together: a task is done when each does what is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from laguna_agent.tools.literals import array, literal, nearly_equal

MOST_CHARS = 2_000
"""Characters of what a command printed that are shown."""
_SHOWN = 40
_CRASH = re.compile(
    r"[Tt]raceback|\b[A-Z]\w*(?:Error|Exception)\b|\bpanic|Fatal error|^\s+at .+:\d+:\d+\)?$",
    re.MULTILINE,
)
_OF_SURROUNDINGS = re.compile(
    r"ModuleNotFoundError|Cannot find module|EOFError|FileNotFoundError|ENOENT|PermissionError"
    r"|EACCES|Connection\w*Error|URLError|ECONN\w+|ENOTFOUND"
)
"""Crashes for want of what no change of the code may bring, such as a file or an input."""
_IMPORT = re.compile(r"^(?:ImportError|ModuleNotFoundError)\b", re.MULTILINE)
_WRAPPED = re.compile(r"[A-Za-z_]\w*\((.+)\)", re.DOTALL)
_KILLED = 128
_AS_IN_ARRAYS = 1e-7
"""How nearly numbers are the same of which numpy prints eight digits."""
_FRAME = re.compile(r'^ *File "([^"\n]+)", line \d+[^\n]*\n +([^\n]+)', re.MULTILINE)
_NODE_LINE = re.compile(r"^[^\n]+:\d+\n([^\n]+)\n *\^")
_LIBRARY = re.compile(r"[/\\]lib(?:64)?[/\\]python|[/\\](?:site|dist)-packages[/\\]|^<")
_ARGUMENT = re.compile(r"argv|\b(?:args?|arguments?|params?|namespace|opts)\b", re.IGNORECASE)
_ALL_ARGUMENTS = re.compile(r"argv(?:\[\d*:\])?\s*[,)]")
_TOO_FEW = re.compile(r"^(?:IndexError\b|ValueError: .*values to unpack)")
_QUOTED = re.compile(r"'([^'\n]+)'|\"([^\"\n]+)\"")


class StatedOutput(NamedTuple):
    """A command, and what it should print, without white space at the ends."""

    command: str
    output: str | None
    """None: only how it exits is said."""
    sure: bool = True
    """Whether it should do that after the change, and not as the task describes it before."""
    is_value: bool = False
    """Whether the output is a value of Python, as `print` shows it."""
    status: int | None = None
    """What it should exit with."""
    to_errors: bool = False
    """Whether it should print it on standard error."""


class Printed(NamedTuple):
    """What a command printed. `exit_code` is None if it was stopped."""

    stated: StatedOutput
    stdout: str
    stderr: str
    exit_code: int | None

    @property
    def holds(self) -> bool:
        """Whether it printed what is said, on either stream where only one has any text, and
        exited as is said."""
        if self.exit_code is None or self.stated.status not in (None, self.exit_code):
            return False
        if self.stated.output is None:
            return True
        if self.stated.is_value:
            return self.exit_code == 0 and same_value(self.stdout, self.stated.output)
        on_errors = self.stated.to_errors or not self.stdout.strip()
        return same_text(self.stderr if on_errors else self.stdout, self.stated.output)

    @property
    def makes_check(self) -> bool:
        """Whether what is said is worth checking, when this is from before any change."""
        if self.stated.output is None:
            return not self.holds and self._crashed
        if self.stated.is_value and _IMPORT.search(self.stderr):
            return False  # it needs other surroundings
        return self.stated.sure or not self.holds

    @property
    def _crashed(self) -> bool:
        if self.exit_code is None or _OF_SURROUNDINGS.search(self.stderr):
            return False
        if may_refuse(self.stated.command, self.stderr):
            return False
        return self.exit_code >= _KILLED or _CRASH.search(self.stderr) is not None


def may_refuse(command: str, stderr: str) -> bool:
    """Whether a crash is for want of arguments, or for what these say, so that a right repair may
    refuse them: the last line of the program reads them, or the error names one of them."""
    frames = [line for path, line in _FRAME.findall(stderr) if not _LIBRARY.search(path)]
    frames = frames or _NODE_LINE.findall(stderr)
    error = stderr.strip().rpartition("\n")[2]
    if frames and _ARGUMENT.search(frames[-1]):
        return True
    if len(frames) > 1 and _ALL_ARGUMENTS.search(frames[-2]) and _TOO_FEW.match(error):
        return True
    words = {word.strip("'\"") for word in command.split()[1:]}
    if error.startswith("ZeroDivisionError"):
        return not words.isdisjoint({"0", "0.0"})
    return any((one or other) in words for one, other in _QUOTED.findall(error))


def same_text(one: str, other: str) -> bool:
    """Whether two outputs are the same, white space at the ends and at line ends aside."""
    return _lines(one) == _lines(other)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().split("\n")]


def same_value(printed: str, expected: str) -> bool:
    """Whether a value that was printed is the expected one, which `print` shows so. Lines above
    it are other output."""
    text = printed.removesuffix("\n")
    if text == expected or text.endswith(f"\n{expected}"):
        return True
    last = text.rpartition("\n")[2]
    wrapped = _WRAPPED.fullmatch(last)  # OrderedDict({...}), dict_keys([...])
    value, wanted = literal(wrapped[1] if wrapped else last), literal(expected)
    if wanted is None:
        return False
    if value is not None and nearly_equal(value[0], wanted[0]):
        return True
    value = array(text) if isinstance(wanted[0], list | tuple) else None
    return value is not None and nearly_equal(value[0], wanted[0], _AS_IN_ARRAYS)


def as_command(stated: Sequence[StatedOutput]) -> str:
    """All of it as one command line, with what is printed in a comment: for people and models to
    read, and for the policy to decide about."""
    commands = dict.fromkeys(item.command for item in stated)
    if len(stated) > 1 and all(_only_prints(item) for item in stated):
        outputs = [_short(item.output or "") for item in stated]
        said = "print " + ", ".join(outputs[:-1]) + f" and {outputs[-1]}"
    else:
        said = "; ".join(map(_says, stated))
    return f"{' && '.join(commands)} # {said}"


def _only_prints(stated: StatedOutput) -> bool:
    return stated.output is not None and stated.status is None and not stated.to_errors


def _says(stated: StatedOutput) -> str:
    """`prints 3 and exits with 1`"""
    parts = []
    if stated.output is not None:
        where = " on standard error" if stated.to_errors else ""
        parts.append(f"prints {_short(stated.output)}{where}")
    if stated.status is not None:
        parts.append(f"exits with {stated.status}")
    return " and ".join(parts)


def _short(output: str) -> str:
    text = output.replace("\n", "\\n") if output.strip() else repr(output)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def report(results: Sequence[Printed]) -> str:
    """What a model reads: the first command that does something else whole, the others in a line
    each."""
    wrong = [result for result in results if not result.holds]
    lines = [_whole(wrong[0])] if wrong else []
    for result in results:
        command, says = result.stated.command, _says(result.stated)
        if result.holds:
            lines.append(f"`{command}` {says}, as it should.")
        elif result is not wrong[0]:
            says = says.replace("prints ", "print ", 1).replace("exits with ", "exit with ")
            lines.append(f"`{command}` should {says} too.")
    return "\n".join(lines)


def _whole(result: Printed) -> str:
    printed = [_clipped(text.strip("\n")) for text in (result.stdout, result.stderr)]
    shown = "\n".join(text for text in printed if text.strip()) or "(nothing)"
    if result.exit_code is None:
        shown += "\n[it did not end and was stopped]"
    elif result.exit_code:
        shown += f"\n[exit status {result.exit_code}]"
    return f"`{result.stated.command}` prints:\n{shown}\n{_wanted(result.stated)}"


def _wanted(stated: StatedOutput) -> str:
    if stated.output is None:
        return f"It should exit with {stated.status}."
    where = " on standard error" if stated.to_errors else ""
    output = stated.output if stated.output.strip() else repr(stated.output)
    status = "" if stated.status is None else f"\nand exits with {stated.status}."
    return f"The task says that it prints{where}:\n{output}{status}"


def _clipped(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"[...]\n{text[-MOST_CHARS:]}"
