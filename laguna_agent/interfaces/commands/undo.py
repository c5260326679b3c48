"""`laguna undo`: takes back what turns changed in this repository's files, and makes it again."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from laguna_agent.agent.undo import choose, steps_of, take_back
from laguna_agent.errors import ExitCode, UsageError
from laguna_agent.interfaces.commands.command_line import (
    Parser,
    confirm,
    repository,
    whole_number,
    write_line,
)
from laguna_agent.paths import repository_state_dir
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible
from laguna_agent.tools.checkpoints.change import Planned, Step
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from laguna_agent.trajectory.index import SessionIndex
from laguna_agent.trajectory.store import Trajectory, is_locked, sessions_dir

_LISTED = 5
"""Files that a line of the list names."""


def make_parser() -> Parser:
    """The command line of `laguna undo`."""
    parser = Parser(
        prog="laguna undo",
        description="Take back what the last turn that changed files changed in them, however it "
        "did. What you changed since is merged and stays; a file where that cannot be is left as "
        "it is and named. Files that you made are not touched.",
        examples=("laguna undo --list", "laguna undo", "laguna undo --redo"),
    )
    parser.add_directory()
    parser.add_argument("--list", action="store_true", help="list the turns, with time and files")
    parser.add_argument("--diff", action="store_true", help="only show what would change")
    parser.add_argument("--steps", type=whole_number(1), default=1, metavar="N",
                        help="the last N turns of the session; with --redo, undos")  # fmt: skip
    parser.add_argument("--redo", action="store_true", help="make the last undo's changes again")
    parser.add_argument("--session", metavar="ID", help="a turn of this session, not the latest")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--checkpoints", action="store_true",
                        help="list the recorded states of all files")  # fmt: skip
    parser.add_argument("id", nargs="?", metavar="ID",
                        help="take back this turn, or restore this checkpoint")  # fmt: skip
    return parser


def main(argv: Sequence[str]) -> int:
    """Undo or redo; 1 when a file was left as it is."""
    options = make_parser().parse_args(argv)
    root = repository(options)
    checkpoints = Checkpoints(root, repository_state_dir(root))
    if options.checkpoints:
        for item in checkpoints.history():
            files = counted(item.files, "file")
            write_line(f"{item.id}  {_clock(item.time)}  {files:>12}  {item.label}")
        return ExitCode.DONE
    if options.session is not None:
        with SessionIndex(root) as index:
            steps = steps_of(checkpoints, index.resolve(options.session))
    else:
        steps = checkpoints.changes.steps()
    if options.list:
        _list(steps)
        return ExitCode.DONE
    if options.id is not None:
        chosen = [step for step in steps if step.origin.turn == options.id]
        if not chosen:
            return _restore(checkpoints, options.id, only_show=options.diff, yes=options.yes)
    else:
        [last] = choose(steps, redo=options.redo)
        same = [step for step in steps if step.origin.session == last.origin.session]
        chosen = choose(same, options.steps, redo=options.redo)
    return _take_back(checkpoints, chosen, only_show=options.diff, yes=options.yes)


def _take_back(
    checkpoints: Checkpoints, steps: Sequence[Step], *, only_show: bool, yes: bool
) -> int:
    if not only_show:
        _refuse_running(checkpoints.workspace, {step.origin.session for step in steps})
    plan = checkpoints.changes.plan(steps)
    if only_show:
        for item in plan:
            write_line(described(item))
            sys.stdout.write(visible(item.diff if item.outcome != "conflict" else ""))
        return ExitCode.DONE
    for step in steps:
        write_line(_headline(step))
    if sys.stdin.isatty() and not yes and plan:
        for item in plan:
            write_line(f"  {described(item)}")
        if not confirm("Do this?", hint="Add --yes."):
            return ExitCode.DONE
    taken = take_back(checkpoints.changes, steps, steps[0].origin.session, seq=steps[0].origin.seq)
    for item in taken.done:
        write_line(described(item, done=True))
    left = {item.path: item for item in plan if item.outcome == "conflict"}
    for path, why in taken.left.items():
        text = described(left[path]) if path in left else f"{_shown(path)} stays as it is: {why}"
        sys.stderr.write(f"laguna: {text}\n")
    if not taken.done and not taken.left:
        write_line("Nothing to do: the files are in that state already.")
    if taken.done:
        redo = any(step.origin.kind == "undo" for step in steps)
        write_line(f"To reverse this: laguna undo{'' if redo else ' --redo'}")
    return ExitCode.FAILED if taken.left else ExitCode.DONE


def _refuse_running(root: Path, sessions: Iterable[str]) -> None:
    """Raise UsageError if a turn of one of the sessions runs in another process."""
    for session in sessions:
        directory = sessions_dir(root) / session
        if not directory.is_dir() or not is_locked(directory):
            continue
        trajectory = Trajectory.open(directory, for_append=False)
        last = {
            kind: max((stored.seq for stored in trajectory.of_type(kind)), default=0)
            for kind in ("turn_started", "turn_finished")
        }
        if last["turn_started"] > last["turn_finished"]:
            hint = "Stop it first, or choose another with --session."
            raise UsageError(f"a turn of session {session} is running", hint=hint)


def described(item: Planned, *, done: bool = False) -> str:
    """One file of a preview, or of what was done, with its line counts and whose lines they are."""
    path = _shown(item.path)
    lines = f"  +{item.added} -{item.removed}"
    yours = counted(item.yours, "line")
    if item.outcome == "conflict":
        whose = f" ({yours} of yours)" if item.yours else ""
        return f"{path} stays as it is: {item.why}{whose}"
    if item.outcome == "removed":
        return f"{'removed ' if done else 'remove  '} {path}{lines}"
    if item.outcome == "merged":
        keeps = "kept" if done else "keeps"
        return f"{'restored' if done else 'restore '} {path}{lines}, {keeps} {yours} of yours"
    return f"{'restored' if done else 'restore '} {path}{lines}"


def _list(steps: Sequence[Step]) -> None:
    for step in steps:
        if not step.files:
            continue
        write_line(_headline(step))
        names = [_shown(path) for path in step.files]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        write_line(f"    {counted(len(names), 'file')}: {', '.join(names[:_LISTED])}{more}")


def _headline(step: Step) -> str:
    origin = step.origin
    of = f" of {counted(len(origin.of), 'turn')}" if len(origin.of) > 1 else ""
    what = f"turn {origin.number}" if origin.kind == "turn" else f"{origin.kind}{of}"
    state = {"turn": "  (undone)", "undo": "  (redone)"}.get(origin.kind, "") * step.undone
    title = f"  {visible(origin.title, single_line=True)}" if origin.title else ""
    return f"{origin.turn}  {_clock(step.time)}  {origin.session}  {what}{title}{state}"


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def _shown(path: str) -> str:
    return visible(path, single_line=True)


def _restore(checkpoints: Checkpoints, checkpoint: str, *, only_show: bool, yes: bool) -> int:
    """Restore all files to a checkpoint, whoever changed them since."""
    if only_show:
        sys.stdout.write(visible(checkpoints.diff(checkpoint)))
        return ExitCode.DONE
    changed = checkpoints.changed_since(checkpoint)
    if sys.stdin.isatty() and not yes and changed:
        for path in changed:
            write_line(f"  {_shown(path)}")
        if not confirm("Restore all of these, your own changes included?", hint="Add --yes."):
            return ExitCode.DONE
    report = checkpoints.restore(checkpoint)
    for path in report.written:
        write_line(f"restored {_shown(path)}")
    for path in report.removed:
        write_line(f"removed  {_shown(path)}")
    for path, why in report.failed.items():
        sys.stderr.write(f"laguna: {_shown(path)} was not restored: {why}\n")
    if not (report.written or report.removed or report.failed):
        write_line("No file had changed.")
    write_line(f"To undo this: laguna undo {report.before}")
    return ExitCode.FAILED if report.failed else ExitCode.DONE
