"""The command line: flags and subcommands. Everything else is imported when it is used."""

from __future__ import annotations

import os
import sys


def _distrust_the_repository() -> None:
    """Drop entries of `sys.path` through which the repository could bring a `json.py` along: where
    `python -m` was started, and of PYTHONPATH those that are empty, relative or inside it."""
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        root = here = os.getcwd()
    except OSError:  # it was removed, and nothing can be imported from it
        return
    while not os.path.lexists(os.path.join(root, ".git")):
        root, below = os.path.dirname(root), root
        if root == below:
            root = here
            break
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    inside = root.rstrip("/") + "/"
    dropped = {here} | {
        path
        for entry in given
        if (path := os.path.abspath(entry)) == root
        or path.startswith(inside)
        or not os.path.isabs(entry)
    }
    sys.path[:] = [entry for entry in sys.path if entry == own or entry not in dropped]


if __name__ == "__main__" or os.path.basename(sys.argv[0]) == "laguna":  # not when it is imported
    _distrust_the_repository()  # before anything is imported that Python's own start does not need

import codecs
import errno
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from laguna_agent.interfaces.commands.overview import GROUPS, overview

if TYPE_CHECKING:
    import argparse

    from laguna_agent.agent.settings import Settings
    from laguna_agent.interfaces.commands.command_line import Parser

COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}
"""Subcommands: each is `main(argv)` of `laguna_agent.interfaces.commands.<name>`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Errors are shown in a line or two."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    if arguments in (["--version"], ["-V"]):
        return _guarded(_version, arguments)
    if not {"-h", "--help"}.isdisjoint(arguments):  # ends in SystemExit, and needs no log
        return _guarded(_dispatch, arguments)
    from laguna_agent import log

    code = _guarded(_logged, arguments)
    log.logger.info("exit code %d", code)
    return code


def _prepare_streams() -> None:
    """Open standard streams that are closed, whose numbers other files would get, and let nothing
    fail because the output cannot hold a character."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 (lives as long as the process)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    codecs.register_error("laguna", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="laguna")


def _escape(error: UnicodeError) -> tuple[str, int]:
    """What cannot be encoded, as in JSON, so that an object in any encoding stays one."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end


def _discard_output() -> None:
    """Let nothing more be written to standard output, nor fail at the end."""
    null = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _version(arguments: list[str]) -> int:
    from laguna_agent import __version__

    sys.stdout.write(f"laguna {__version__}\n")
    sys.stdout.flush()
    return 0


def _logged(arguments: list[str]) -> int:
    from laguna_agent import log

    log.start(arguments, command=_command(arguments), verbose="--verbose" in arguments)
    return _dispatch(arguments)


def _dispatch(arguments: list[str]) -> int:
    command = _command(arguments)
    if not command:
        _refuse_unknown(arguments)
    if arguments[:1] == ["help"] and len(arguments) > 1:
        return _help(arguments[1])
    flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if arguments == ["help"] or (not command and not {"-h", "--help"}.isdisjoint(flags)):
        code = _help("")
    elif command:
        from laguna_agent.interfaces.terminal_text import visible_output

        module = import_module(f"laguna_agent.interfaces.commands.{command}")
        with visible_output():
            code = int(module.main(arguments[1:]))
    else:
        code = _run_agent(arguments)
    sys.stdout.flush()  # raises here, where it is handled, if the reader is gone
    return code


def _help(about: str) -> int:
    """Print the help of a command, of the flags, or an overview."""
    if about == "flags":
        sys.stdout.write(_parser().format_help())
    elif about in COMMANDS:
        import_module(f"laguna_agent.interfaces.commands.{about}").make_parser().print_help()
    elif about:
        _refuse_unknown([about], hint="`laguna help` lists the commands.")
    else:
        sys.stdout.write(overview())
    sys.stdout.flush()
    return 0


def _parser() -> Parser:
    from laguna_agent.interfaces.commands.flags import make_parser

    return make_parser()


def _refuse_unknown(words: list[str], *, hint: str = "") -> None:
    """Raise UsageError for a first word that was to be a command; several words are a prompt."""
    from laguna_agent.errors import UsageError

    word = words[0] if words else ""
    if not word or word.startswith("-") or len(word.split()) != 1 or word == "help":
        return
    text = hint or f"A text that is meant goes behind --: laguna -- {word}"
    if word in COMMANDS:
        raise UsageError(f"`{word}` is a command and comes first: laguna {word} …", hint=text)
    import difflib

    close = difflib.get_close_matches(word, [*COMMANDS, "help"], n=1, cutoff=0.7)
    if hint or (close and (len(words) < 4 or any(other.startswith("-") for other in words))):
        near = f"Did you mean `laguna {close[0]}`? " if close else ""
        raise UsageError(f"there is no command `{word}`", hint=near + text)


def _command(arguments: list[str]) -> str:
    return arguments[0] if arguments and arguments[0] in COMMANDS else ""


def _guarded(run: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run, and turn an error into a message and an exit code."""
    from laguna_agent.errors import ExitCode, LagunaError

    try:
        return run(arguments)
    except LagunaError as error:
        from laguna_agent.log import log_error

        log_error("error", error)
        return _fail(str(error), error.exit_code, arguments)
    except KeyboardInterrupt:
        if _prints_an_object(arguments):
            from laguna_agent.interfaces.headless import report_failure

            report_failure("interrupted", "interrupted")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        _discard_output()
        return 0
    except Exception as error:
        from laguna_agent.log import unexpected

        if isinstance(error, FileNotFoundError) and not _has_directory():
            message = "the current directory does not exist any more\nChange to one that does."
            return _fail(message, ExitCode.USAGE, arguments)
        wrong = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
        return _fail(unexpected(error), ExitCode.USAGE if wrong else ExitCode.FAILED, arguments)


def _has_directory() -> bool:
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


def _fail(message: str, code: int, arguments: list[str]) -> int:
    from laguna_agent.clip import clip_lines
    from laguna_agent.policy.sanitize import visible

    try:
        sys.stdout.flush()
    except OSError:  # a full disk: once more at the end, it would be a traceback
        _discard_output()
    sys.stderr.write(f"laguna: {visible(clip_lines(message))}\n")
    if _prints_an_object(arguments):
        from laguna_agent.interfaces.headless import report_failure

        report_failure(message)
    return int(code)


def _prints_an_object(arguments: list[str]) -> bool:
    """Whether a script expects the object of `--output json`, whatever is wrong."""
    flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
    wanted = ("json", "stream-json")
    return not _command(arguments) and any(
        flag in [f"--output={name}" for name in wanted]
        or (flag in wanted and flags[place - 1] == "--output")
        for place, flag in enumerate(flags)
    )


def _run_agent(arguments: list[str]) -> int:
    import shlex

    from laguna_agent.errors import UsageError

    options = _parser().parse_args(arguments)
    if "--" not in arguments and options.task is None:
        _refuse_unknown(options.prompt)
    if options.task is None and options.output != "text":
        raise UsageError("--output is for --task", hint='laguna --task "…" --output json')
    if options.task is not None and options.prompt:
        text = shlex.quote(f"{options.task} {' '.join(options.prompt)}")
        raise UsageError(
            f"--task takes one text, and `{' '.join(options.prompt)}` is beside it",
            hint=f"Put the text in quotes: laguna --task {text}",
        )
    if options.task is not None:
        import asyncio

        from laguna_agent.interfaces.headless import read_task, run_task

        settings = make_settings(options)
        task = read_task(options.task)
        return int(asyncio.run(run_task(task, settings, options.output)))
    from laguna_agent.interfaces.tui import run_tui
    from laguna_agent.paths import workspace

    cwd, _ = workspace(options.directory)
    return int(
        run_tui(
            lambda: make_settings(options),
            prompt=" ".join(options.prompt) or None,
            cwd=cwd if options.directory else None,
            resumes=bool(options.resume or options.fork or options.continue_last),
        )
    )


def make_settings(options: argparse.Namespace) -> Settings:
    """The settings of a session, from flags, environment and files. Raises UsageError."""
    from laguna_agent.agent import settings

    return settings.make_settings(
        options.directory,
        flags={
            "model": options.model,
            "pack": options.pack,
            "mode": options.mode,
            "thinking": options.thinking,
            "offline": options.offline or None,
            "sampling": {"seed": options.seed, "temperature": options.temperature},
            "limits": {
                "steps": options.max_steps,
                "tokens": options.max_tokens,
                "timeout": options.timeout,
            },
            "memory": {"enabled": False if options.no_memory else None},
            "trajectory": {"logprobs": options.logprobs or None},
        },
        interactive=options.task is None,
        trust_now=options.trust,
        plan=options.plan,
        check=options.check,
        resume=options.resume,
        fork=options.fork,
        continue_last=options.continue_last,
    )


if __name__ == "__main__":
    sys.exit(main())
