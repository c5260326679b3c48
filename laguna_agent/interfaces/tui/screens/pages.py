"""Pages to read: help, the diff, what fills the context, usage, the doctor's findings."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from laguna_agent.atomic_write import atomic_stream
from laguna_agent.errors import LagunaError
from laguna_agent.interfaces.tui import keys
from laguna_agent.interfaces.tui.screens.dialogs import Page
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript import diff_view
from laguna_agent.interfaces.tui.transcript.rendering import seconds
from laguna_agent.policy.sanitize import visible
from laguna_agent.tools.repository.git_command import GitError, git_output

if TYPE_CHECKING:
    from laguna_agent.agent.session import Session
    from laguna_agent.interfaces.tui.app import LagunaApp
    from laguna_agent.interfaces.tui.slash_commands import Command


def help_page(app: LagunaApp, commands: Sequence[Command], skills: Sequence[Command]) -> None:
    """Keys, commands and skills, from their tables."""
    p = app.palette

    def table(rows: list[tuple[str, str]]) -> Table:
        made = Table.grid(padding=(0, 2))
        made.add_column(style=p.user, no_wrap=True, min_width=18)
        made.add_column(style=p.foreground)
        for left, right in rows:
            made.add_row(Text(left), Text(right))
        return made

    def draw(width: int) -> RenderableType:
        parts: list[RenderableType] = []
        for group, rows in keys.help_rows():
            parts += [Text(group, style=f"bold {p.accent}"), table(rows), Text()]
        parts.append(Text("Commands", style=f"bold {p.accent}"))
        parts += [table([(f"{c.name} {c.arguments}".strip(), c.about) for c in commands]), Text()]
        if skills:
            parts.append(Text("Skills", style=f"bold {p.accent}"))
            parts += [table([(f"{c.name} {c.arguments}", c.about) for c in skills]), Text()]
        parts.append(Text("Beginning a message", style=f"bold {p.accent}"))
        parts.append(table([
            ("@name", "a file or symbol of the repository"),
            ("!command", "run it yourself; the model sees the output with your next message"),
            ("#text", "remember it for all conversations that begin later"),
        ]))  # fmt: skip
        return Group(*parts)

    app.push_screen(Page("Help", draw))


def diff_text(diff: str, palette: Palette, width: int) -> RenderableType:
    """A diff of several files."""
    return diff_view.render(diff, width, palette, most=4_000)


async def diff_page(app: LagunaApp) -> None:
    """What git says has changed since the last commit, files it does not know included."""
    diff, unknown = await asyncio.to_thread(_git_diff, app.root)
    if not diff.strip() and not unknown:
        app.transcript_model.note("nothing has changed since the last commit")
        return

    def draw(width: int) -> RenderableType:
        parts: list[RenderableType] = [diff_text(diff, app.palette, width)] if diff else []
        if unknown:
            parts += [Text(), Text("New files", style=f"bold {app.palette.accent}")]
            parts += [Text(visible(name, single_line=True)) for name in unknown[:200]]
        return Group(*parts)

    app.push_screen(Page("Changes since the last commit", draw))


def _git_diff(root: Path) -> tuple[str, list[str]]:
    def git(*arguments: str) -> str:
        return git_output(root, *arguments, timeout=30).decode("utf-8", "replace")

    try:
        head = "HEAD" if git("rev-list", "-n1", "--all").strip() else "--cached"
        diff = git("diff", head, "--no-ext-diff", "--no-textconv", "--no-color")
        others = git("ls-files", "--others", "--exclude-standard", "-z")
    except GitError as error:
        raise LagunaError(f"git cannot say what changed here: {str(error)[:200]}") from error
    return diff, [name for name in others.split("\0") if name]


async def context_page(app: LagunaApp) -> None:
    """What fills the window, by part, in tokens of the model's own tokenizer."""
    parts = await app.agent.run(context_parts)
    session = app.agent.session
    if session is None:
        return
    limit, p = session.conversation.limit, app.palette
    used = sum(parts.values())

    def draw(width: int) -> RenderableType:
        bar = max(10, min(50, width - 44))
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        for name, tokens in [*parts.items(), ("free", max(0, limit - used))]:
            colour = p.muted if name == "free" else p.accent
            filled = "━" * round(bar * tokens / max(1, limit))
            table.add_row(Text(name), Text(f"{tokens:,}"), Text(filled, style=colour))
        total = Text(f"{used:,} of {limit:,} tokens are in use ({used / max(1, limit):.0%})",
                     style="bold")  # fmt: skip
        return Group(total, Text(), table)

    app.push_screen(Page("Context", draw))


async def context_parts(session: Session) -> dict[str, int]:
    """Tokens by part. They add up to what is in use: what templates add is a part of its own."""
    await session.begin()
    state, count = session.conversation_state, session.conversation.count
    texts: dict[str, list[str]] = {
        "your messages": [], "instructions and surroundings": [], "answers": [], "thinking": [],
        "tool calls": [], "summary": [],
    }  # fmt: skip
    for stored in state.history:
        event: Any = stored.event
        match event.type:
            case "user_message":
                texts["your messages"].append(event.text)
                texts["instructions and surroundings"].append(event.context)
            case "system_note":
                texts["instructions and surroundings"].append(event.text)
            case "reply":
                texts["answers"].append(event.text)
                texts["thinking"].append(event.thinking)
                texts["tool calls"] += [
                    call.raw or str(call.arguments) for call in event.tool_calls
                ]
            case "tool_finished":
                texts.setdefault(f"results of {event.name}", []).append(event.content)
            case "compacted":
                texts["summary"].append(event.opening)
    parts: dict[str, int] = {}
    if state.system is not None:
        system = await count(state.system.text)
        parts["system prompt"] = min(system, state.system.tokens)
        parts["tool declarations"] = max(0, state.system.tokens - system)
    for name, said in texts.items():
        if joined := "\n".join(text for text in said if text):
            parts[name] = await count(joined)
    rest = session.conversation.used - sum(parts.values())
    if rest > 0:
        parts["chat format"] = rest
    return parts


async def usage_page(app: LagunaApp) -> None:
    """Sums of this conversation's turns."""
    session = app.agent.session
    assert session is not None
    directory = session.trajectory.directory
    turns = await asyncio.to_thread(_turns, directory)
    total: dict[str, float] = {}
    for turn in turns:
        for name, value in turn.usage.model_dump().items():
            total[name] = total.get(name, 0) + value
    rows = [
        ("turns", f"{len(turns)}"),
        ("steps", f"{sum(turn.steps for turn in turns)}"),
        ("time", seconds(sum(turn.duration_s for turn in turns))),
        ("prompt tokens", f"{total.get('prompt_tokens', 0):,.0f}"),
        ("  reused from the cache", f"{total.get('reused_tokens', 0):,.0f}"),
        ("  of those, restored from disk", f"{total.get('restored_tokens', 0):,.0f}"),
        ("  processed", f"{total.get('prefilled_tokens', 0):,.0f}"),
        ("tokens written", f"{total.get('completion_tokens', 0):,.0f}"),
    ]

    def draw(width: int) -> RenderableType:
        table = Table.grid(padding=(0, 3))
        table.add_column()
        table.add_column(justify="right")
        for left, right in rows:
            table.add_row(Text(left), Text(right, style="bold"))
        return table

    app.push_screen(Page("Usage of this conversation", draw))


def _turns(directory: Path) -> list[Any]:
    from laguna_agent.trajectory.store import Trajectory

    trajectory = Trajectory.open(directory, for_append=False)
    return [stored.event for stored in trajectory.of_type("turn_finished")]


async def doctor_page(app: LagunaApp) -> None:
    """What `laguna doctor` says."""
    app.status.say("looking around…", 30)
    command = [sys.executable, "-m", "laguna_agent.cli", "doctor"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=app.cwd, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    app.status.flash = ""
    text = out.decode("utf-8", "replace")
    app.push_screen(Page("Doctor", lambda width: Text(visible(text))))


async def prompts_page(app: LagunaApp) -> None:
    """Which pack is in use, its files, and what they cost."""
    session = app.agent.session
    assert session is not None
    pack = session.pack
    changed = await asyncio.to_thread(pack.changed)
    rows: list[tuple[str, str]] = []
    for name, versions in sorted(pack.sources.items()):
        path, text, _ = versions[0]
        tokens = await app.agent.run(lambda s, text=text: s.conversation.count(text))  # type: ignore[misc]  # a default binds it
        rows.append((name, f"{tokens:>6,} tokens   {path}"))

    def draw(width: int) -> RenderableType:
        p = app.palette
        head = Text(f"{pack.name}", style="bold")
        head.append(f"  sha256 {pack.sha256[:12]}", style=p.muted)
        if changed:
            head.append("\nits files have changed: /prompts reload begins anew with them",
                        style=p.warning)  # fmt: skip
        table = Table.grid(padding=(0, 2))
        for left, right in rows:
            table.add_row(Text(left, style=p.user), Text(right, style=p.muted))
        hint = Text("laguna prompts edit PACK FILE changes one; laguna prompts lint checks them",
                    style=p.muted)  # fmt: skip
        return Group(head, Text(), table, Text(), hint)

    app.push_screen(Page("Prompts", draw))


def export(directory: Path, path: Path) -> None:
    """Write a session to a file by its ending. Raises LagunaError."""
    from laguna_agent.trajectory.atif import write_atif
    from laguna_agent.trajectory.document import write_html, write_markdown
    from laguna_agent.trajectory.store import Trajectory

    trajectory = Trajectory.open(directory, for_append=False)
    try:
        with atomic_stream(path) as out:
            if path.suffix.lower() in (".html", ".htm"):
                write_html(trajectory.events(), trajectory.meta, out)
            elif path.suffix.lower() == ".json":
                write_atif(trajectory, out, session=trajectory.id)
            else:
                write_markdown(trajectory.events(), trajectory.meta, out)
    except OSError as error:
        raise LagunaError(f"{path} cannot be written: {error.strerror}") from error
