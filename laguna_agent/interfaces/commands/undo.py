"""`laguna undo`: undo the file changes of the last turn in this repository."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from laguna_agent.errors import ExitCode, UsageError
from laguna_agent.events import Checkpointed, TurnFinished
from laguna_agent.interfaces.commands.command_line import Parser, repository, write_line
from laguna_agent.paths import repository_state_dir
from laguna_agent.plurals import counted
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from laguna_agent.trajectory.index import SessionIndex
from laguna_agent.trajectory.store import Trajectory


def make_parser() -> Parser:
    """The command line of `laguna undo`."""
    parser = Parser(
        prog="laguna undo",
        description="Restore the files to before the last turn that changed any. The present "
        "state is recorded first, and its id is printed to undo this too.",
    )
    parser.add_directory()
    parser.add_argument("--list", action="store_true", help="list the checkpoints")
    parser.add_argument("--diff", action="store_true", help="only show what would change")
    parser.add_argument("id", nargs="?", metavar="ID", help="restore this checkpoint instead")
    return parser


def main(argv: Sequence[str]) -> int:
    """Restore a checkpoint; 1 when a file could not be restored."""
    options = make_parser().parse_args(argv)
    root = repository(options)
    checkpoints = Checkpoints(root, repository_state_dir(root))
    if options.list:
        for item in checkpoints.history():
            write_line(f"{item.id}  {counted(item.files, 'file'):>12}  {item.label}")
        return ExitCode.DONE
    checkpoint = options.id or last_changing_turn(root)
    if options.diff:
        sys.stdout.write(checkpoints.diff(checkpoint))
        return ExitCode.DONE
    report = checkpoints.restore(checkpoint)
    for path in report.written:
        write_line(f"restored {path}")
    for path in report.removed:
        write_line(f"removed  {path}")
    for path, why in report.failed.items():
        sys.stderr.write(f"laguna: {path} was not restored: {why}\n")
    if not (report.written or report.removed or report.failed):
        write_line("No file had changed.")
    write_line(f"To undo this: laguna undo {report.before}")
    return ExitCode.FAILED if report.failed else ExitCode.DONE


def last_changing_turn(root: Path) -> str:
    """Id of the checkpoint before the last turn that changed files. Raises UsageError."""
    with SessionIndex(root) as index:
        sessions = [index.sessions_dir / meta.id for meta in index.sessions(limit=20)]
    for directory in sessions:
        found = checkpoint = None
        for stored in Trajectory.open(directory, for_append=False).events(whole=False):
            if isinstance(stored.event, Checkpointed):
                checkpoint = stored.event.id
            elif isinstance(stored.event, TurnFinished) and stored.event.files_changed:
                found = checkpoint
        if found is not None:
            return found
    raise UsageError(
        "no turn in this repository changed files", hint="`laguna undo --list` lists checkpoints."
    )
