"""What every command line of laguna shares: its parser, `-C DIR`, questions and output.

Each subcommand is a module with `make_parser()`, which declares it, and `main(argv)`, which runs it
and returns the exit code. Errors are raised as LagunaError; `laguna_agent.cli` shows them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from laguna_agent.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


class Parser(argparse.ArgumentParser):
    """An argument parser that reports wrong usage as a UsageError."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError, in two lines instead of argparse's usage text."""
        raise UsageError(message, hint=f"`{self.prog} --help` shows how.")

    def add_actions(self) -> Actions:
        """Make the command take the name of an action first, as in `laguna models list`."""
        return Actions(self.add_subparsers(parser_class=Parser, metavar="ACTION", required=True))

    def add_directory(self) -> None:
        """Add `-C DIR`; see `repository`."""
        self.add_argument("-C", dest="directory", metavar="DIR", default=".",
                          help="work in this directory")  # fmt: skip

    def add_json(self) -> None:
        """Add `--json`."""
        self.add_argument("--json", action="store_true", help="print one JSON value")


class Actions:
    """The actions of a command: each has a parser and, as `options.run`, a function to call."""

    def __init__(self, group: argparse._SubParsersAction[Parser]) -> None:
        self._group = group

    def add(self, name: str, run: Callable[..., int], text: str) -> Parser:
        """Add an action that `text` describes in a sentence; returns its parser."""
        parser = self._group.add_parser(name, help=text, description=text)
        parser.set_defaults(run=run)
        return parser


def repository(options: argparse.Namespace) -> Path:
    """Root of the repository that `-C DIR` names. Raises UsageError when DIR is no directory."""
    from pathlib import Path

    from laguna_agent.paths import repository_root
    from laguna_agent.programs import distrust

    directory = Path(options.directory).expanduser()
    if not directory.is_dir():
        raise UsageError(f"there is no directory {directory}")
    root = repository_root(directory)
    distrust(root)
    return root


def confirm(question: str, *, hint: str) -> bool:
    """Ask a yes-or-no question on the terminal; no is the default.

    Raises UsageError with `hint` when standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("this needs a yes, and standard input is not a terminal", hint=hint)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def write_line(text: str = "") -> None:
    """Write a line to standard output at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_json(data: Any) -> None:
    """Write one JSON value to standard output."""
    import json

    write_line(json.dumps(data, indent=2))
