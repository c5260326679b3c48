"""The flags of `laguna [PROMPT]` and `laguna --task TEXT`."""

from __future__ import annotations

import argparse
from argparse import ArgumentTypeError

from laguna_agent.interfaces.commands.command_line import Parser, whole_number


def make_parser() -> Parser:
    """The flags of `laguna [PROMPT]` and `laguna --task TEXT`."""
    parser = Parser(
        prog="laguna",
        description="A coding agent that runs its model on your own machine.",
        examples=(
            "laguna",
            'laguna --task "Fix the failing test in test_calc.py"',
            'laguna --task "Rename add to plus" --check "make test" --output json',
            "laguna --continue",
        ),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("prompt", nargs="*", metavar="PROMPT", help="a first message for the terminal interface")
    add("--task", metavar="TEXT", help="do one task without the interface; - reads standard input")
    add("--check", type=_command, metavar="COMMAND",
        help="a command that succeeds once the task is done")  # fmt: skip
    add("--model", metavar="NAME", help="a model's name, a GGUF file, or PROVIDER/NAME")
    add("--pack", metavar="NAME", help="a prompt pack's name or folder")
    add(
        "--mode",
        choices=["ask", "accept-edits", "auto", "allow-all"],
        help="what runs without asking",
    )
    add("--plan", action="store_true", help="plan only; change nothing")
    add("--output", choices=["text", "json", "stream-json"], default="text",
        help="what --task prints on standard output (default: text)")  # fmt: skip
    add("-C", dest="directory", metavar="DIR", help="work in this directory")
    resume = parser.add_mutually_exclusive_group()
    resume.add_argument("--continue", dest="continue_last", action="store_true",
                        help="continue the last session here")  # fmt: skip
    resume.add_argument("--resume", metavar="ID", help="continue a session")
    resume.add_argument("--fork", metavar="ID", help="continue a copy of a session")
    add("--max-steps", type=whole_number(1), metavar="N", help="stop after N replies")
    add("--max-tokens", type=whole_number(1), metavar="N", help="stop after N generated tokens")
    add("--timeout", type=_seconds, metavar="SECONDS", help="stop after this many seconds")
    add("--seed", type=int, metavar="N", help="seed of the sampling")
    add(
        "--temperature",
        type=_temperature,
        metavar="T",
        help="0 is greedy; default: the model's own",
    )
    add("--thinking", action=argparse.BooleanOptionalAction, default=None,
        help="think before answering, for models that can")  # fmt: skip
    add("--no-memory", action="store_true", help="neither recall nor write memories")
    add("--logprobs", action="store_true",
        help="record the log-probability of each generated token")  # fmt: skip
    add("--offline", action="store_true", help="use no network")
    add("--trust", action="store_true", help="trust this repository's .laguna/ for this run")
    add("--verbose", action="store_true", help="log sizes and the texts of errors too")
    add("--version", action="store_true", help="show the version")
    return parser


def _command(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("the command is empty")
    return text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:
        raise ArgumentTypeError(f"`{text}` is not a number of seconds above 0")
    return value


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1e3:
        raise ArgumentTypeError(f"`{text}` is not a number from 0 on")
    return value
