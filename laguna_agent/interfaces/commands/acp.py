"""`laguna acp`: the agent for editors, over standard input and output."""

from __future__ import annotations

from collections.abc import Sequence

from laguna_agent.errors import ExitCode
from laguna_agent.interfaces.commands.command_line import Parser, write_line


def main(argv: Sequence[str]) -> int:
    """Run `laguna acp ARGV`; returns the exit code."""
    options = make_parser().parse_args(argv)
    if options.print_config:
        from laguna_agent.interfaces.acp.editor_config import editor_config

        write_line(editor_config(options.print_config))
        return ExitCode.DONE
    import asyncio

    from laguna_agent.interfaces.acp.run import serve

    flags = {"model": options.model, "mode": options.mode, "offline": options.offline or None}
    asyncio.run(serve(flags))
    return ExitCode.DONE


def make_parser() -> Parser:
    """The command line of `laguna acp`."""
    from laguna_agent.interfaces.acp.editor_names import EDITORS

    parser = Parser(
        prog="laguna acp",
        description="The agent for editors that speak the Agent Client Protocol. An editor starts "
        "it; --print-config prints what to put into its settings.",
        examples=("laguna acp --print-config zed", "laguna acp --print-config jetbrains"),
    )
    add = parser.add_argument
    add("--print-config", choices=EDITORS, metavar="EDITOR",
        help=f"print the settings for {', '.join(EDITORS)}")  # fmt: skip
    add("--model", metavar="NAME", help="a model's name, a GGUF file, or PROVIDER/NAME")
    add("--mode", choices=["ask", "accept-edits", "auto", "allow-all"],
        help="what runs without asking (default: ask)")  # fmt: skip
    add("--offline", action="store_true", help="use no network")
    return parser
