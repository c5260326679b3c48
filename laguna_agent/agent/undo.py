"""Undo and redo: takes changes of turns back, and the model forgets what it read of the files."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from laguna_agent.agent.services import Services
from laguna_agent.agent.state import SessionState
from laguna_agent.errors import UsageError
from laguna_agent.events import (
    Checkpointed,
    Notice,
    Rewound,
    SystemNote,
    TurnFinished,
    TurnStarted,
)
from laguna_agent.tools.checkpoints.change import Change, Kind, Origin, Step, Taken, new_turn
from laguna_agent.tools.checkpoints.changes import Changes
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from laguna_agent.tools.checkpoints.tree_state import CheckpointError
from laguna_agent.tools.files import read_state
from laguna_agent.tools.files.encoding import printable_name
from laguna_agent.tools.files.workspace import PathError, resolve_path
from laguna_agent.tools.tool import ToolContext
from laguna_agent.trajectory.meta import read_meta
from laguna_agent.trajectory.store import Trajectory

_NAMED = 40
"""Files that the note to the model names."""


def steps_of(checkpoints: Checkpoints, session: Path) -> list[Step]:
    """The turns, undos and redos of a session, and of those that it was forked from up to there;
    the latest first. `session` is its directory."""
    until: dict[str, float] = {session.name: float("inf")}
    meta = read_meta(session)
    while meta is not None and meta.parent:
        parent, _, seq = meta.parent.rpartition(":")
        if parent in until or not seq.isdecimal():
            break
        until[parent] = min(int(seq), *until.values())
        meta = read_meta(session.parent / parent)
    steps = checkpoints.changes.steps(until)
    known = {step.origin.seq for step in steps}
    older = list(_older_steps(checkpoints, session, known))
    if older:
        steps = checkpoints.changes.steps(until, older)
    return [step for step in steps if step.origin.seq < until[step.origin.session]]


def _older_steps(checkpoints: Checkpoints, session: Path, known: set[int]) -> Iterator[Step]:
    """The turns that an older laguna recorded: of these there is a checkpoint of their start,
    perhaps one of their end, and the names of the files."""
    turns: list[tuple[int, str, TurnFinished | None]] = []
    start = 0
    for stored in Trajectory.open(session, for_append=False).events(whole=False):
        event = stored.event
        if isinstance(event, TurnStarted):
            start = stored.seq - 1
        elif isinstance(event, Checkpointed):
            turns.append((start, event.id, None))
        elif isinstance(event, TurnFinished) and turns and turns[-1][0] == start:
            turns[-1] = (start, turns[-1][1], event)
        elif isinstance(event, Rewound) and event.code:
            turns = [turn for turn in turns if turn[0] < event.to_seq]
    for number, (seq, checkpoint, finished) in enumerate(turns, 1):
        if finished is None or not finished.files_changed or seq in known:
            continue
        after = finished.checkpoint or (turns[number][1] if number < len(turns) else None)
        with suppress(CheckpointError):
            files = checkpoints.between(checkpoint, after, finished.files_changed)
            when = checkpoints.info(checkpoint).time
            origin = Origin(session.name, checkpoint, number, seq)
            yield Step(origin, [Change(origin, when, files)])


def undoable(steps: Iterable[Step]) -> list[Step]:
    """The turns that can be undone, the latest first."""
    return [s for s in steps if s.origin.kind == "turn" and not s.undone and s.files]


def redoable(steps: Iterable[Step]) -> list[Step]:
    """The undos that can be redone, the latest first."""
    return [s for s in steps if s.origin.kind == "undo" and not s.undone]


def choose(
    steps: Sequence[Step], number: int = 1, *, turns: Collection[str] = (), redo: bool = False
) -> list[Step]:
    """The turns to undo, or the undos to redo, the latest first: the last `number`, or those with
    `turns` as their `Origin.turn`. Raises UsageError when there is none."""
    candidates = redoable(steps) if redo else undoable(steps)
    found = [step for step in candidates if step.origin.turn in turns]
    if not turns:
        found = candidates[:number]
    if not found:
        what = "nothing to redo" if redo else "nothing to undo: no turn left that changed files"
        raise UsageError(what, hint="`laguna undo --list` lists the turns and what they changed.")
    return found


def take_back(changes: Changes, steps: Sequence[Step], session: str, *, seq: int = 0) -> Taken:
    """Undo turns, or redo an undo; recorded as a change of `session`."""
    turns: list[str] = []
    for step in steps:
        turns += [step.origin.turn] if step.origin.kind == "turn" else step.origin.of
    kind: Kind = "redo" if any(step.origin.kind == "undo" for step in steps) else "undo"
    title = steps[0].origin.title
    origin = Origin(session, new_turn(), seq=seq, title=title, kind=kind, of=tuple(turns))
    return changes.take_back(steps, origin)


async def undo_files(
    services: Services, state: SessionState, steps: Sequence[Step]
) -> tuple[Taken, SystemNote | None]:
    """Undo turns, or redo an undo, while the conversation stays. Raises LagunaError.

    Returns what was done, and the note that tells the model, if it needs one. What the model knew
    of these files is forgotten: an edit of what it read before still applies, but it cannot
    overwrite a file that it has not read as it is now.
    """
    trajectory = services.recorder.trajectory
    changes = services.checkpoints.changes
    taken = await asyncio.to_thread(
        take_back, changes, steps, trajectory.id, seq=trajectory.last_seq
    )
    forget(services.tool_context, taken)
    state.taken_back |= {item.path: item.then for item in taken.done}
    shown = services.tool_context.shown
    written, removed = (
        [printable_name(shown(path)) for path in paths] for paths in (taken.written, taken.removed)
    )
    paths = sorted([*written, *(f"{path} (gone again)" for path in removed)])
    if not paths or not services.recorder.state.user_messages:
        return taken, None
    more = [f"and {len(paths) - _NAMED} more"] if len(paths) > _NAMED else []
    text = services.pack.text("undone.md", files="\n".join([*paths[:_NAMED], *more]))
    redone = any(step.origin.kind == "undo" for step in steps)
    return taken, SystemNote(text=text, reason="redone" if redone else "undone")


def left_notices(taken: Taken) -> list[Notice]:
    """Notices for files that were left as they are."""
    return [
        Notice(level="warning", text=f"{path} stays as it is: {why}")
        for path, why in taken.left.items()
    ]


def forget(context: ToolContext, taken: Taken) -> None:
    """Forget what the model read of files that are other ones now."""
    for item in taken.done:
        with suppress(PathError):
            read_state.forget(context, resolve_path(context, str(context.workspace / item.path)))
