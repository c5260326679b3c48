"""What a task says that a command prints, and how that compares with what it printed.

The commands are a check together: a task is done when each prints what is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MOST_CHARS = 2_000
"""Characters of what a command printed that are shown."""
_SHOWN = 40


class StatedOutput(NamedTuple):
    """A command, and what it should print, without white space at the ends."""

    command: str
    output: str
    sure: bool = True
    """Whether it should print that after the change, and not as the task describes it before."""


class Printed(NamedTuple):
    """What a command printed. `exit_code` is None if it was stopped."""

    stated: StatedOutput
    stdout: str
    stderr: str
    exit_code: int | None

    @property
    def holds(self) -> bool:
        """Whether it printed what is said, on either stream where only one has any text."""
        return self.exit_code is not None and same_text(
            self.stdout if self.stdout.strip() else self.stderr, self.stated.output
        )


def same_text(one: str, other: str) -> bool:
    """Whether two outputs are the same, white space at the ends and at line ends aside."""
    return _lines(one) == _lines(other)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().split("\n")]


def as_command(stated: Sequence[StatedOutput]) -> str:
    """All of it as one command line, with what is printed in a comment: for people and models to
    read, and for the policy to decide about."""
    commands = dict.fromkeys(item.command for item in stated)
    outputs = [_short(item.output) for item in stated]
    if len(outputs) == 1:
        return f"{stated[0].command} # prints {outputs[0]}"
    said = ", ".join(outputs[:-1]) + f" and {outputs[-1]}"
    return f"{' && '.join(commands)} # print {said}"


def _short(output: str) -> str:
    text = output.replace("\n", "\\n")
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def report(results: Sequence[Printed]) -> str:
    """What a model reads: the first command that prints something else whole, the others in a
    line each."""
    wrong = [result for result in results if not result.holds]
    lines = [_whole(wrong[0])] if wrong else []
    for result in results:
        command, output = result.stated.command, _short(result.stated.output)
        if result.holds:
            lines.append(f"`{command}` prints {output}, as it should.")
        elif result is not wrong[0]:
            lines.append(f"`{command}` should print {output} too.")
    return "\n".join(lines)


def _whole(result: Printed) -> str:
    printed = [_clipped(text.strip("\n")) for text in (result.stdout, result.stderr)]
    shown = "\n".join(text for text in printed if text.strip()) or "(nothing)"
    if result.exit_code is None:
        shown += "\n[it did not end and was stopped]"
    elif result.exit_code:
        shown += f"\n[exit status {result.exit_code}]"
    return (
        f"`{result.stated.command}` prints:\n{shown}\n"
        f"The task says that it prints:\n{result.stated.output}"
    )


def _clipped(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"[...]\n{text[-MOST_CHARS:]}"
