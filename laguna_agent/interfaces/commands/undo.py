"""`laguna undo`: take back what the last turn did to the files of this repository."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from laguna_agent.errors import ExitCode, UsageError
from laguna_agent.events import Checkpointed, TurnFinished
from laguna_agent.paths import repository_root, repository_state_dir
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from laguna_agent.trajectory.index import SessionIndex
from laguna_agent.trajectory.store import Trajectory


def main(argv: list[str]) -> int:
    """Restore the files to before the last turn that changed some."""
    parser = argparse.ArgumentParser(
        prog="laguna undo",
        description="Put the files back to what they were before the last turn that changed some. "
        "The state that this replaces is recorded too, and can be restored by its id.",
    )
    parser.add_argument("-C", dest="directory", metavar="DIR", default=".")
    parser.add_argument("--list", action="store_true", help="show the checkpoints there are")
    parser.add_argument("--diff", action="store_true", help="show what would be taken back")
    parser.add_argument("id", nargs="?", metavar="ID", help="a checkpoint to go back to")
    options = parser.parse_args(argv)
    root = repository_root(Path(options.directory))
    checkpoints = Checkpoints(root, repository_state_dir(root))
    if options.list:
        for item in checkpoints.history():
            sys.stdout.write(f"{item.id}  {item.files:6} files  {item.label}\n")
        return ExitCode.DONE
    checkpoint = options.id or last_changing_turn(root)
    if options.diff:
        sys.stdout.write(checkpoints.diff(checkpoint))
        return ExitCode.DONE
    report = checkpoints.restore(checkpoint)
    for path in report.written:
        sys.stdout.write(f"restored {path}\n")
    for path in report.removed:
        sys.stdout.write(f"removed  {path}\n")
    for path, why in report.failed.items():
        sys.stderr.write(f"laguna: {path} is not as it was: {why}\n")
    if not (report.written or report.removed or report.failed):
        sys.stdout.write("The files are as they were.\n")
    sys.stdout.write(f"To take this back: laguna undo {report.before}\n")
    return ExitCode.FAILED if report.failed else ExitCode.DONE


def last_changing_turn(root: Path) -> str:
    """The checkpoint from before the last turn that changed files. Raises UsageError."""
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
        "no turn in this repository changed files", hint="`laguna undo --list` shows checkpoints."
    )
