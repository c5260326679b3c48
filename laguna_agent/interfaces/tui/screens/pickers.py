"""Lists to pick from: modes, themes, earlier prompts, conversations, memories."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual.binding import Binding, BindingType

from laguna_agent.actions import Mode
from laguna_agent.interfaces.tui import reference, themes
from laguna_agent.interfaces.tui.screens.dialogs import Choice, Page, Picker, preview_columns
from laguna_agent.interfaces.tui.system.prompt import CHIP
from laguna_agent.interfaces.tui.transcript.code_highlight import syntax
from laguna_agent.interfaces.tui.transcript.markdown import CodeBlock
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer
from laguna_agent.interfaces.tui.transcript.stored_entries import read_page
from laguna_agent.interfaces.tui.widgets.fitted_row import Explained, one_line
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from textual.app import App

    from laguna_agent.interfaces.tui.system.preferences import PromptHistory
    from laguna_agent.trajectory.meta import Meta

Notify = Callable[[str], None]
"""Tells the user why there is nothing to pick from."""
_SEARCH_HITS = 60
"""Events that a search for conversations looks at."""
_PREVIEW_ENTRIES = 30
_PREVIEW_CHARS = 20_000
_HELP_CELLS = 22
CYCLED: tuple[Mode, ...] = ("ask", "accept-edits", "auto")
"""The modes that a key goes through, before plan mode; allow-all takes more than a key."""
MODES = {
    "ask": "asks before every side effect",
    "accept-edits": "edits files of the repository; asks before anything else",
    "auto": "does what the sandbox contains; asks before anything else",
    "plan": "only reads, and proposes a plan that you accept, edit or refuse",
    "allow-all": "never asks",
}


def _row(left: str, right: str, width: int = 16) -> Text:
    label = Text(visible(left, single_line=True).ljust(width), no_wrap=True, overflow="ellipsis")
    return label.append("  " + visible(right, single_line=True))


class Help(Picker):
    """Every key, command and mark, by group; typing searches, Enter fills in a command."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("f1", "cancel", show=False, priority=True)]

    def __init__(self, skills: Sequence[reference.SlashCommand]) -> None:
        hint = "enter uses a command · esc closes"
        super().__init__("Help", _help_choices(skills), hint=hint)


def _help_choices(skills: Sequence[reference.SlashCommand]) -> list[Choice]:
    choices = []
    for group, rows in reference.groups(skills).items():
        for number, (name, about) in enumerate(rows):
            word = name.split()[0]
            heading = group if number == 0 else ""
            choices.append(
                Choice(
                    word if word.startswith("/") else "",
                    Text(f"{name}  {about}"),
                    words=group,
                    drawn=Explained(name, about, _HELP_CELLS, heading=heading),
                )
            )
    return choices


def mode_picker() -> Picker:
    """The modes."""
    choices = [Choice(mode, _row(mode, about)) for mode, about in MODES.items()]
    return Picker("Mode: what laguna does without asking", choices)


def theme_picker(preview_theme: Callable[[str], None]) -> Picker:
    """The themes; `preview_theme` is called with the highlighted one."""

    def preview(name: str) -> RenderableType:
        preview_theme(name)
        return _sample(themes.PALETTES[name])

    choices = [Choice(name, _row(name, about)) for name, about in themes.ABOUT.items()]
    return Picker("Theme", choices, preview=preview)


def _sample(palette: themes.Palette) -> RenderableType:
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


def code_picker(blocks: Sequence[CodeBlock], palette: themes.Palette) -> Picker:
    """Code blocks to copy, by their numbers."""

    def preview(number: str) -> RenderableType:
        block = blocks[int(number)]
        return syntax(block.language, visible(block.code.rstrip("\n")), palette)

    choices = []
    for number, block in enumerate(blocks):
        lines = block.code.splitlines() or [""]
        label = f"{number + 1}  {block.language or 'code'}, {counted(len(lines), 'line')}"
        start = next((line.strip() for line in lines if line.strip()), "")
        choices.append(Choice(str(number), _row(label, start, 24), block.code[:2_000]))
    return Picker("Copy a code block", choices, preview=preview,
                  hint="enter copies · esc closes")  # fmt: skip


def prompt_picker(prompts: PromptHistory) -> Picker:
    """Earlier prompts, the latest first; the answer is the number of one."""
    latest: dict[str, int] = {}
    for number, text in enumerate(prompts.texts):
        # Chips of the same look may stand for other texts.
        latest[f"{text}\0{number}" if CHIP.search(text) else text] = number
    choices = [
        Choice(
            str(number),
            Text(one_line(text.partition("\0")[0]), no_wrap=True, overflow="ellipsis"),
        )
        for text, number in sorted(latest.items(), key=lambda item: -item[1])
    ]  # fmt: skip

    def preview(number: str) -> Text:
        return Text(visible(prompts[int(number)].expanded[:_PREVIEW_CHARS]))

    return Picker("Earlier prompts", choices[:500], preview=preview)


async def choose_session(
    app: App[Any], notify: Notify, root: Path, current: str | None
) -> str | None:
    """Let the user pick one of the repository's other conversations; returns its id.

    Typing also searches their messages; `current` is the id of the open one.
    """
    from laguna_agent.memory.recall_index import RecallIndex
    from laguna_agent.trajectory.index import SessionIndex

    def listed() -> tuple[Path, list[Meta]]:
        with SessionIndex(root) as index:
            return index.sessions_dir, index.sessions(limit=1_000)

    directory, metas = await asyncio.to_thread(listed)
    choices = [_session_choice(meta) for meta in metas if meta.id != current and meta.events]
    if not choices:
        notify("this repository has no other conversations")
        return None

    by_id = {choice.id: choice for choice in choices}
    hits: dict[str, tuple[int, str]] = {}
    renderer = EntryRenderer(themes.PALETTES[app.theme], copy_key=False)

    def matching(text: str) -> list[Choice]:
        """Conversations with a message that matches, the best match first."""
        hits.clear()
        for name, seq, _, _, snippet, _ in index.events(text, _SEARCH_HITS, None):
            if name in by_id:
                hits.setdefault(name, (seq, snippet))
        return [by_id[name] for name in hits]

    async def search(text: str) -> list[Choice]:
        await asyncio.to_thread(index.refresh)
        return await asyncio.to_thread(matching, text)

    async def preview(name: str) -> RenderableType:
        seq, snippet = hits.get(name, (None, ""))
        columns = preview_columns(app.size.width)
        shown = await asyncio.to_thread(_session_preview, directory / name, renderer, columns, seq)
        if not snippet:
            return shown
        line = " ".join(visible(snippet).split())
        return Group(Text(f"… {line} …", style=renderer.palette.accent), shown)

    index = RecallIndex(root)
    picker = Picker("Resume a conversation", choices, preview=preview, search=search,
                    hint="enter resumes · esc closes",
                    placeholder="type to search titles and messages")  # fmt: skip
    try:
        return await app.push_screen_wait(picker)
    finally:
        await asyncio.to_thread(index.close)


def _session_choice(meta: Meta) -> Choice:
    from laguna_agent.interfaces.phrases import age

    turns = counted(meta.turns, "turn")
    label = Text(f"{age(meta.updated, datetime.now(UTC)):>4}  ")
    label.no_wrap, label.overflow = True, "ellipsis"
    label.append(one_line(meta.title) or "(no messages yet)", "bold")
    label.append(f"  {turns}" + (f"  {meta.branch}" if meta.branch else ""))
    words = " ".join([meta.id, meta.model, meta.status, *meta.files_changed[:50]])
    return Choice(meta.id, label, words)


def _session_preview(
    directory: Path, renderer: EntryRenderer, columns: int, seq: int | None
) -> RenderableType:
    """The end of a conversation, or its entries from event `seq` on."""
    from laguna_agent.trajectory.store import Trajectory

    last = Trajectory.open(directory, for_append=False).last_seq
    until = last + 1 if seq is None else min(last + 1, seq + _PREVIEW_ENTRIES)
    entries, _ = read_page(directory, until)
    if seq is not None:
        entries = [entry for entry in entries if entry.seq >= seq]
    return Group(
        *(
            renderer.renderable(entry, columns)
            for entry in entries[-_PREVIEW_ENTRIES:]
            if entry.kind in ("user", "answer", "tool", "end")
        )
    )


async def show_memories(app: App[Any], notify: Notify, root: Path) -> None:
    """List what laguna remembers of the repository, and open the memory that is picked."""
    from laguna_agent.memory.memory_store import MemoryStore

    memories = await asyncio.to_thread(lambda: list(MemoryStore(root).memories()))
    memories.sort(key=lambda memory: memory.ended, reverse=True)
    if not memories:
        notify("laguna has no memories of this repository yet")
        return
    by_id = {memory.id: memory for memory in memories}
    choices = [
        Choice(m.id, _row(f"{m.ended[:10]} {m.level}", m.title, 19), m.body) for m in memories
    ]

    def preview(chosen: str) -> RenderableType:
        return Text(visible(by_id[chosen].body))

    hint = "enter opens · esc closes · remove one: laguna memory forget ID"
    chosen = await app.push_screen_wait(Picker("Memory", choices, preview=preview, hint=hint))
    if chosen:
        memory = by_id[chosen]
        app.push_screen(Page(f"{memory.title}  {memory.id}", lambda _: Text(visible(memory.body))))
