"""`laguna trust`: show what a repository brings for laguna, and allow laguna to read it."""

from __future__ import annotations

from collections.abc import Sequence

from laguna_agent.errors import ExitCode
from laguna_agent.interfaces.commands.command_line import Parser, confirm, repository, write_line
from laguna_agent.policy import trust
from laguna_agent.policy.sanitize import visible


def make_parser() -> Parser:
    """The command line of `laguna trust`."""
    parser = Parser(
        prog="laguna trust",
        description="Let laguna read this repository's .laguna/, .mcp.json and instruction files, "
        "and run the scripts that are named there, as they are now. After a change, laguna asks "
        "again.",
        examples=("laguna trust --show", "laguna trust", "laguna trust --forget"),
    )
    parser.add_directory()
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--yes", action="store_true", help="trust without asking")
    what.add_argument("--digest", metavar="SHA256", help="trust only if the content has this hash")
    what.add_argument("--show", action="store_true", help="only show what would be trusted")
    what.add_argument("--forget", action="store_true", help="withdraw trust")
    return parser


def main(argv: Sequence[str]) -> int:
    """Show what would be read and, once the user agrees, trust it; 1 when it is not trusted."""
    options = make_parser().parse_args(argv)
    root = repository(options)
    if options.forget:
        had = trust.forget(root)
        write_line(f"{root} is no longer trusted." if had else f"{root} was not trusted.")
        return ExitCode.DONE
    found = trust.content(root)
    if found.empty:
        write_line(f"{root} has nothing that needs trust.")
        return ExitCode.DONE
    write_line(f"Files of {root} that give laguna instructions or run programs:")
    for name in found.files:
        write_line(f"  {visible(name, single_line=True)}")
    if found.commands:
        write_line("Commands that they run, with the scripts that these name:")
    for name, command in found.commands:
        write_line(f"  {visible(name, single_line=True)}: {visible(command, single_line=True)}")
    write_line(f"sha256 {found.digest}")
    if trust.is_trusted(root):
        write_line("Trusted as they are. `laguna trust --forget` withdraws trust.")
        return ExitCode.DONE
    if options.show:
        return ExitCode.FAILED
    if trust.was_trusted(root):
        write_line("They have changed since you trusted them.")
    hint = "`laguna trust --yes` trusts them, `--digest SHA256` only if they are what you saw."
    if not (options.yes or options.digest or confirm("Trust these files?", hint=hint)):
        write_line("Not trusted: laguna does not read them.")
        return ExitCode.FAILED
    trust.trust(root, options.digest or found.digest)
    write_line("Trusted until they change. `laguna trust --forget` withdraws trust.")
    return ExitCode.DONE
