"""Undo, redo and rewind: what to go back over, and what that does to the files.

Every dialog shows the files before anything happens: which lines go back, and which of the person's
own lines stay. Choosing an older turn goes back over the later ones too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from laguna_agent.interfaces.commands.undo import described
from laguna_agent.interfaces.phrases import age
from laguna_agent.interfaces.tui import themes
from laguna_agent.interfaces.tui.screens import pages
from laguna_agent.interfaces.tui.screens.dialogs import Choice, Picker, Question, preview_columns
from laguna_agent.interfaces.tui.widgets.fitted_row import one_line
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from textual.app import App

    from laguna_agent.agent.session import Session
    from laguna_agent.tools.checkpoints.change import Origin, Planned, Step

_FILES = 60
"""Files that a preview names."""


async def choose_undo(app: App[Any], session: Session, *, redo: bool) -> list[str] | None:
    """Let the person pick turns to undo, or undos to redo, and agree to what that does; returns
    their `Origin.turn`. Raises UsageError when there is none."""
    from laguna_agent.agent.undo import choose

    steps = await asyncio.to_thread(session.steps)
    found = choose(steps, len(steps), redo=redo)
    picked = 0
    if len(found) > 1:
        chosen = await app.push_screen_wait(_picker(app, session, found, redo=redo))
        if chosen is None:
            return None
        picked = int(chosen)
    wanted = found[: picked + 1]
    while True:
        answer = await app.push_screen_wait(await _question(app, session, wanted, redo=redo))
        if answer != "only":
            return [step.origin.turn for step in wanted] if answer == "do" else None
        wanted = [found[picked]]


def _picker(app: App[Any], session: Session, found: Sequence[Step], *, redo: bool) -> Picker:
    """The turns, the latest first; the preview shows what going back over them does."""
    now = datetime.now(UTC)

    def row(step: Step) -> Text:
        when = datetime.fromtimestamp(step.time, UTC).isoformat()
        title = step.origin.title + _earlier(step.origin)
        return _row(age(when, now), len(step.files), title)

    async def preview(chosen: str) -> RenderableType:
        steps = found[: int(chosen) + 1]
        plan = await asyncio.to_thread(session.checkpoints.changes.plan, steps)
        return _shown(app, _what(steps, redo=redo), plan)(preview_columns(app.size.width))

    choices = [Choice(str(number), row(step)) for number, step in enumerate(found)]
    what = "Redo which undo?" if redo else "Undo back to before which turn?"
    return Picker(what, choices, preview=preview)


async def _question(
    app: App[Any], session: Session, steps: Sequence[Step], *, redo: bool
) -> Question:
    plan = await asyncio.to_thread(session.checkpoints.changes.plan, steps)
    verb = "redo" if redo else "undo"
    choices = {"do": f"{verb} all {len(steps)}" if len(steps) > 1 else verb}
    if len(steps) > 1:
        choices["only"] = "only the oldest"
    choices["cancel"] = "cancel"
    title = f"{verb.capitalize()} {_what(steps, redo=redo)}"
    return Question(title, _shown(app, "", plan)(min(74, app.size.width - 8)), choices=choices)


def _what(steps: Sequence[Step], *, redo: bool) -> str:
    """The turns, in words."""
    origin = steps[-1].origin
    title = one_line(origin.title) or f"turn {origin.number}"
    if len(steps) == 1:
        return f"“{title}”{_earlier(origin)}"
    return f"{counted(len(steps), 'undo' if redo else 'turn')}, back to before “{title}”"


def _earlier(origin: Origin) -> str:
    """How many turns an undo took back besides the latest, whose title it has."""
    return f" and {counted(len(origin.of) - 1, 'earlier turn')}" if len(origin.of) > 1 else ""


def _row(when: str, files: int, title: str) -> Text:
    """A turn: when, how many files it changed, and what was asked for."""
    count = counted(files, "file") if files else ""
    label = Text(f"{when:>4}  {count:<8}  ", no_wrap=True, overflow="ellipsis")
    return label.append(one_line(title), "bold")


def _shown(app: App[Any], heading: str, plan: Sequence[Planned]) -> Callable[[int], RenderableType]:
    """What going back does: the files, whose lines they are, and the lines."""
    palette = themes.PALETTES[app.theme]

    def draw(width: int) -> RenderableType:
        parts: list[RenderableType] = [Text(heading, style="bold"), Text()] if heading else []
        parts.append(_file_list(plan, palette))
        if diff := "".join(item.diff for item in plan if item.outcome != "conflict"):
            parts += [Text(), pages.draw_diff(diff, palette, width)]
        return Group(*parts)

    return draw


def _file_list(plan: Sequence[Planned], palette: themes.Palette) -> Text:
    """The files with their counts, the total first."""
    if not plan:
        return Text("The files are in that state already.", style=palette.muted)
    going = [item for item in plan if item.outcome != "conflict"]
    added, removed = sum(i.added for i in going), sum(i.removed for i in going)
    if len(plan) == 1:  # the file's own line has its counts
        return Text(described(plan[0]), style=palette.warning if not going else "")
    text = Text(f"{counted(len(going), 'file')}  +{added} -{removed}", style=palette.muted)
    if yours := sum(item.yours for item in plan):
        text.append(f", {counted(yours, 'line')} of yours stay" + ("s" if yours == 1 else ""))
    for item in plan[:_FILES]:
        style = palette.warning if item.outcome == "conflict" else ""
        text.append(f"\n{described(item)}", style=style)
    if len(plan) > _FILES:
        text.append(f"\nand {len(plan) - _FILES:,} more", style=palette.muted)
    return text


class RewindChoice(NamedTuple):
    """The message to rewind to, its text unless it accepted a plan, which is offered again, and
    whether its files are restored too."""

    seq: int
    text: str
    files: bool


async def choose_rewind(
    app: App[Any], notify: Callable[[str], None], session: Session
) -> RewindChoice | None:
    """Let the person pick a message to rewind to, with its files or without."""
    from laguna_agent.agent.undo import undoable

    messages = [
        stored
        for stored in session.conversation_state.user_messages
        if stored.event.type == "user_message"
    ]
    if not messages:
        notify("no messages to rewind to yet")
        return None
    steps = undoable(await asyncio.to_thread(session.steps))
    texts = {stored.seq: stored.event.text for stored in messages}  # type: ignore[union-attr]  # they are user messages

    def since(seq: int) -> list[Planned]:
        return session.checkpoints.changes.plan(session.steps_since(seq))

    async def preview(chosen: str) -> RenderableType:
        seq = int(chosen)
        plan = await asyncio.to_thread(since, seq)
        if not plan:
            plan_text: RenderableType = Text("No file was changed since.", style="dim")
            return Group(Text(visible(texts[seq]), style="bold"), Text(), plan_text)
        return _shown(app, visible(texts[seq]), plan)(preview_columns(app.size.width))

    files: dict[int, set[str]] = {seq: set() for seq in texts}
    for step in steps:
        first = next((seq for seq in texts if seq > step.origin.seq), None)
        if first is not None:
            files[first].update(step.files)
    now = datetime.now(UTC)
    rows = [
        Choice(str(m.seq), _row(age(m.ts, now), len(files[m.seq]), texts[m.seq]))
        for m in reversed(messages)
    ]
    picked = await app.push_screen_wait(
        Picker("Rewind to before which message?", rows, preview=preview)
    )
    if picked is None:
        return None
    seq = int(picked)
    answer: str | None = "conversation"
    if plan := await asyncio.to_thread(since, seq):
        choices = {
            "conversation": "only the conversation",
            "both": "conversation and files",
            "cancel": "cancel",
        }
        shown = _shown(app, "", plan)(min(74, app.size.width - 8))
        question = Question("Take the files back too?", shown, choices=choices)
        answer = await app.push_screen_wait(question)
    if answer is None or answer == "cancel":
        return None
    [event] = [stored.event for stored in messages if stored.seq == seq]
    accepts = event.type == "user_message" and event.plan is not None
    return RewindChoice(seq, "" if accepts else texts[seq], files=answer == "both")
