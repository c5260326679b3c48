"""What every command line of laguna shares: its parser, `-C DIR`, questions and output.

Each subcommand is a module with `make_parser()`, which declares it, and `main(argv)`, which runs it
and returns the exit code. Errors are raised as LagunaError; `laguna_agent.cli` shows them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from laguna_agent.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

_T = TypeVar("_T")


class Parser(argparse.ArgumentParser):
    """An argument parser that reports wrong usage as a UsageError, and shows examples."""

    def __init__(self, *, examples: Sequence[str] = (), **options: Any) -> None:
        lines = "".join(f"\n  {example}" for example in examples)
        super().__init__(
            epilog=f"examples:{lines}" if examples else None, formatter_class=_Formatter, **options
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError, in two lines instead of argparse's usage text."""
        known: list[str] = []
        wrong = re.search(r"unrecognized arguments: .*?(--[\w-]+)", message)
        if wrong:
            known = [flag for parser in self.walk() for flag in parser._option_string_actions]
        elif wrong := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message):
            known = re.findall(r"'([^']+)'", wrong[2])
        near = did_you_mean(wrong[1], known, list_all=False, cutoff=0.7) if wrong else ""
        raise UsageError(message, hint=f"{near} `{self.prog} --help` shows how.".lstrip())

    def walk(self) -> Iterator[Parser]:
        """This parser, then those of its actions."""
        yield self
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    yield from parser.walk()

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


class _Formatter(argparse.HelpFormatter):
    """Fills the description, and leaves examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


class Actions:
    """The actions of a command: each has a parser and, as `options.run`, a function to call."""

    def __init__(self, group: argparse._SubParsersAction[Parser]) -> None:
        self._group = group

    def add(self, name: str, run: Callable[..., int], text: str) -> Parser:
        """Add an action that `text` describes in a sentence; returns its parser."""
        parser = self._group.add_parser(name, help=text, description=text)
        parser.set_defaults(run=run)
        return parser


def whole_number(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `least` on."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"`{text}` is not a whole number from {least} on")
        return int(text)

    return number


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


def run_async(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` like asyncio.run, but SIGTERM and SIGHUP end it as Ctrl+C does: KeyboardInterrupt
    is raised once it has cleaned up."""
    import asyncio
    import signal
    from contextlib import suppress

    stopped = False

    async def run() -> _T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()

        def stop() -> None:
            nonlocal stopped
            stopped = True
            if task is not None:
                task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                with suppress(NotImplementedError, RuntimeError):
                    loop.add_signal_handler(number, stop)
        return await work

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if stopped:
            raise KeyboardInterrupt from None
        raise


def confirm(question: str, *, hint: str) -> bool:
    """Ask a yes-or-no question on the terminal; no is the default.

    Raises UsageError with `hint` when standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("this needs a yes, and standard input is not a terminal", hint=hint)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def edit_file(path: Path, *, editor: str | None, start: bytes, private: bool = False) -> bool:
    """Edit a file in the user's editor, from `start` on where there is no file yet.

    `editor` is the configured one; only this user can read a new `private` file. A new file that
    stays as it was is removed again, with the folders made for it, and the answer is False.
    Raises UsageError when there is no such editor.
    """
    import os
    import subprocess

    from laguna_agent.programs import find_program, user_command

    chosen = editor or os.environ.get("VISUAL") or os.environ.get("EDITOR")
    command = user_command(chosen) if chosen else [find_program("nano") or find_program("vi") or ""]
    if command == [""]:
        raise UsageError(
            "no editor is configured", hint="Set EDITOR, or `editor` under [tui] in config.toml."
        )
    is_new = not path.exists()
    made = [folder for folder in path.parents if not folder.exists()]
    kept = not is_new
    try:
        if is_new:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
            path.touch(mode=0o600 if private else 0o666)
            path.write_bytes(start)
        done = subprocess.run([*command, str(path)], check=False)
        kept = kept or (done.returncode == 0 and path.read_bytes() != start)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from error
    finally:
        if not kept:
            path.unlink(missing_ok=True)
            for folder in made:
                folder.rmdir()
    return kept


def write_line(text: str = "") -> None:
    """Write a line to standard output at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Write rows whose cells are aligned in columns."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        write_line("  ".join(cells).rstrip())


def write_progress(text: str) -> None:
    """Tell on standard error what is being done."""
    sys.stderr.write(f"… {text}\n")


def write_json(data: Any) -> None:
    """Write one JSON value to standard output."""
    import json

    write_line(json.dumps(data, indent=2))
