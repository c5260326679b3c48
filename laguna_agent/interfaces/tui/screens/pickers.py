"""Lists to choose from: modes, themes, sessions, places to go back to, memories."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from laguna_agent.interfaces.tui import themes
from laguna_agent.interfaces.tui.screens.dialogs import Choice, Page, Picker, Question
from laguna_agent.interfaces.tui.transcript.history_loader import read_page
from laguna_agent.interfaces.tui.transcript.rendering import Renderer
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.interfaces.tui.app import LagunaApp

_HITS = 60
"""Events that are looked at for conversations in which something was said."""
_MODES = {
    "ask": "every side effect is asked",
    "accept-edits": "edits in the repository pass; the rest is asked",
    "auto": "what the sandbox contains passes; the rest is asked",
    "allow-all": "nothing is asked, whatever it is",
}


def _row(left: str, right: str, app: LagunaApp, width: int = 16) -> Text:
    label = Text(visible(left, single_line=True).ljust(width), no_wrap=True, overflow="ellipsis")
    return label.append("  " + visible(right, single_line=True))


def choose_mode(app: LagunaApp) -> None:
    """Which mode."""
    choices = [Choice(mode, _row(mode, about, app)) for mode, about in _MODES.items()]
    app.push_screen(
        Picker("What passes unasked", choices),
        lambda chosen: app.slash_commands.set_mode(chosen) if chosen else None,
    )


def choose_theme(app: LagunaApp) -> None:
    """Which colours; each is shown while it is marked."""
    before = app.theme
    choices = [Choice(name, _row(name, about, app)) for name, about in themes.ABOUT.items()]

    def preview(name: str) -> RenderableType:
        app.theme = name
        return sample(themes.PALETTES[name])

    def chosen(name: str | None) -> None:
        if name is None:
            app.theme = before
        else:
            app.slash_commands.set_theme(name)

    app.push_screen(Picker("Colours", choices, preview=preview), chosen)


def sample(palette: themes.Palette) -> RenderableType:
    """A few lines in the colours of a palette."""
    p = palette
    return Group(
        Text("❯ why does it fail?", style=f"bold {p.user}"),
        Text.assemble(("✓ ", p.success), "read calc.py", ("  12 lines", p.muted)),
        Text.assemble(("✗ ", p.error), "pytest -q", ("  exit 1", p.error)),
        Text.assemble(("! ", p.warning), ("a warning", p.warning)),
        Text.assemble(("● ", p.accent), "edit calc.py"),
        Text("∴ thought for 3.1 s", style=p.muted),
    )


async def choose_session(app: LagunaApp) -> None:
    """Which conversation to go on with; what was said in it is searched and shown."""
    from laguna_agent.interfaces.phrases import age
    from laguna_agent.memory.recall_index import RecallIndex
    from laguna_agent.trajectory.index import SessionIndex

    def listed() -> tuple[Path, list[Any]]:
        with SessionIndex(app.root) as index:
            return index.sessions_dir, index.sessions(limit=1_000)

    directory, metas = await asyncio.to_thread(listed)
    current = app.agent.session.trajectory.id if app.agent.session is not None else ""
    now = datetime.now(UTC)
    choices = []
    for meta in metas:
        if meta.id == current or not meta.events:
            continue
        turns = f"{meta.turns} turn" + ("s" if meta.turns != 1 else "")
        label = Text(f"{age(meta.updated, now):>4}  ", no_wrap=True, overflow="ellipsis")
        label.append(visible(meta.title or "(nothing said yet)", single_line=True), "bold")
        label.append(f"  {turns}" + (f"  {meta.branch}" if meta.branch else ""))
        words = " ".join([meta.id, meta.model, meta.status, *meta.files_changed[:50]])
        choices.append(Choice(meta.id, label, words))
    if not choices:
        app.transcript_model.note("there is no other conversation in this repository")
        return

    by_id = {choice.id: choice for choice in choices}
    hits: dict[str, tuple[int, str]] = {}

    def said(text: str) -> list[Choice]:
        """Conversations in which something was said, the best first."""
        hits.clear()
        for name, seq, _, _, snippet, _ in index.events(text, _HITS, None):
            if name in by_id:
                hits.setdefault(name, (seq, snippet))
        return [by_id[name] for name in hits]

    async def search(text: str) -> list[Choice]:
        await asyncio.to_thread(index.refresh)
        return await asyncio.to_thread(said, text)

    async def preview(name: str) -> RenderableType:
        seq, snippet = hits.get(name, (None, ""))
        renderer = Renderer(app.palette)
        shown = await asyncio.to_thread(_preview, directory / name, renderer, seq)
        if not snippet:
            return shown
        line = " ".join(visible(snippet).split())
        return Group(Text(f"… {line} …", style=app.palette.accent), shown)

    index = RecallIndex(app.root)
    hint = "enter chooses · esc closes · type to search titles and what was said"
    picker = Picker("Go on with", choices, preview=preview, search=search, hint=hint)
    try:
        chosen = await app.push_screen_wait(picker)
    finally:
        await asyncio.to_thread(index.close)
    if chosen:
        app.slash_commands.reopen("opening", resume=chosen)


def _preview(directory: Path, renderer: Renderer, seq: int | None = None) -> RenderableType:
    """The end of a conversation, or what was said from event `seq` on."""
    from laguna_agent.trajectory.store import Trajectory

    last = Trajectory.open(directory, for_append=False).last_seq
    until = last + 1 if seq is None else min(last + 1, seq + 30)
    entries, _ = read_page(directory, until)
    if seq is not None:
        entries = [entry for entry in entries if entry.seq >= seq]
    parts: list[RenderableType] = []
    for entry in entries[-30:]:
        draw: Any = getattr(renderer, f"_{entry.kind}")
        if entry.kind in ("user", "answer", "tool", "end"):
            parts.append(draw(entry, 50))
    return Group(*parts)


async def choose_rewind(app: LagunaApp) -> None:
    """Which message to go back to, with what its files would become."""
    session = app.agent.session
    if session is None:
        return
    messages = {stored.seq: stored.event for stored in session.conversation_state.user_messages}
    if not messages:
        app.transcript_model.note("nothing was said yet")
        return

    def look(seq: int) -> tuple[bool, list[str]]:
        _, checkpoint = session.turn_before(seq)
        if checkpoint is None or session.checkpoints is None:
            return False, []
        return True, session.checkpoints.changed_since(checkpoint)

    async def preview(chosen: str) -> RenderableType:
        known, files = await asyncio.to_thread(look, int(chosen))
        p = app.palette
        text = Text(visible(getattr(messages[int(chosen)], "text", "")), style=f"bold {p.user}")
        text.append("\n\n")
        if not known:
            text.append("no file has been changed since", style=p.muted)
        elif not files:
            text.append("the files are as they were then", style=p.muted)
        else:
            text.append("with the files, these become what they were:\n", style=p.muted)
            text.append("\n".join(visible(name, single_line=True) for name in files[:60]))
        return text

    choices = [
        Choice(str(seq), Text(visible(getattr(event, "text", ""), single_line=True)))
        for seq, event in reversed(messages.items())
    ]
    picked = await app.push_screen_wait(Picker("Go back to before", choices, preview=preview))
    if picked is None:
        return
    _, files = await asyncio.to_thread(look, int(picked))
    code = False
    if files:
        keys = {"c": "conversation only", "b": "conversation and files"}
        names = Text("\n".join(visible(name, single_line=True) for name in files[:60]))
        answer = await app.push_screen_wait(Question("Restore the files too?", names, keys=keys))
        if answer is None:
            return
        code = answer == "b"
    said = getattr(messages[int(picked)], "text", "")
    await app.slash_commands.rewind(int(picked), said, code=code)


async def look_at_memory(app: LagunaApp) -> None:
    """What laguna remembers of this repository."""
    from laguna_agent.memory.memory_store import MemoryStore

    memories = await asyncio.to_thread(lambda: list(MemoryStore(app.root).memories()))
    memories.sort(key=lambda memory: memory.ended, reverse=True)
    if not memories:
        app.transcript_model.note("nothing is remembered of this repository yet")
        return
    by_id = {memory.id: memory for memory in memories}
    choices = [
        Choice(m.id, _row(f"{m.ended[:10]} {m.level}", m.title, app, 19), m.body) for m in memories
    ]

    def preview(chosen: str) -> RenderableType:
        return Text(visible(by_id[chosen].body))

    hint = "enter reads it · type to search · laguna memory forget ID removes one"
    chosen = await app.push_screen_wait(Picker("Memory", choices, preview=preview, hint=hint))
    if chosen:
        memory = by_id[chosen]
        app.push_screen(Page(f"{memory.title}  {memory.id}", lambda _: Text(visible(memory.body))))
