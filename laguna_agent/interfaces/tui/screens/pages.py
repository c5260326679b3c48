"""Pages to read: the diff, what fills the context, usage, doctor, MCP, the prompt pack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from laguna_agent.errors import LagunaError
from laguna_agent.interfaces.tui.screens.dialogs import Page
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript import diff_view
from laguna_agent.interfaces.tui.transcript.rendering import seconds
from laguna_agent.policy.sanitize import visible
from laguna_agent.programs import python_command
from laguna_agent.tools.repository.git_command import GitError, git_output

if TYPE_CHECKING:
    from laguna_agent.agent.session import Session
    from laguna_agent.events import TurnFinished
    from laguna_agent.prompts.loader.pack import Pack
    from laguna_agent.tools.mcp.servers import McpServers

_DIFF_ROWS = 4_000


def draw_diff(diff: str, palette: Palette, width: int) -> RenderableType:
    """Draw a diff of several files."""
    return diff_view.render(diff, width, palette, most=_DIFF_ROWS)


async def diff_page(root: Path, palette: Palette) -> Page | None:
    """The changes since the last commit, with untracked files; None without changes."""
    diff, untracked = await asyncio.to_thread(git_changes, root)
    if not diff.strip() and not untracked:
        return None

    def draw(width: int) -> RenderableType:
        parts: list[RenderableType] = [draw_diff(diff, palette, width)] if diff else []
        if untracked:
            parts += [Text(), Text("New files", style=f"bold {palette.accent}")]
            parts += [Text(visible(name, single_line=True)) for name in untracked[:200]]
        return Group(*parts)

    return Page("Changes since the last commit", draw)


def git_changes(root: Path) -> tuple[str, list[str]]:
    """The diff since the last commit and the untracked files. Raises LagunaError."""

    def git(*arguments: str) -> str:
        return git_output(root, *arguments, timeout=30).decode("utf-8", "replace")

    try:
        head = "HEAD" if git("rev-list", "-n1", "--all").strip() else "--cached"
        diff = git("diff", head, "--no-ext-diff", "--no-textconv", "--no-color")
        others = git("ls-files", "--others", "--exclude-standard", "-z")
    except GitError as error:
        raise LagunaError(f"git cannot list the changes here: {str(error)[:200]}") from error
    return diff, [name for name in others.split("\0") if name]


def context_page(parts: dict[str, int], limit: int, palette: Palette) -> Page:
    """What fills the context: tokens by part, of `limit`."""
    p, used = palette, sum(parts.values())

    def draw(width: int) -> RenderableType:
        # The figures are whole at any width, the names and the bars where there is room.
        names = max(8, min(24, width - 12))
        bar = min(50, width - names - 14)
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=names)
        table.add_column(justify="right", no_wrap=True, min_width=len(f"{limit:,}"))
        table.add_column(no_wrap=True)
        for name, tokens in [*parts.items(), ("free", max(0, limit - used))]:
            colour = p.muted if name == "free" else p.accent
            filled = "━" * round(max(0, bar) * tokens / max(1, limit)) if bar >= 8 else ""
            table.add_row(Text(name), Text(f"{tokens:,}"), Text(filled, style=colour))
        share = used / max(1, limit)
        total = Text(f"{used:,} of {limit:,} tokens used ({share:.0%})", style="bold")
        return Group(total, Text(), table)

    return Page("Context", draw)


async def context_parts(session: Session) -> dict[str, int]:
    """Tokens by part of the context, counted with the model's own tokenizer.

    They add up to the tokens used: what the chat template adds is a part of its own.
    """
    await session.start()
    state, count = session.conversation_state, session.conversation.count
    texts: dict[str, list[str]] = {
        "your messages": [], "instructions and context": [], "answers": [], "thinking": [],
        "tool calls": [], "summary": [],
    }  # fmt: skip
    for stored in state.history:
        event = stored.event
        match event.type:
            case "user_message":
                texts["your messages"].append(event.text)
                texts["instructions and context"].append(event.context)
            case "system_note":
                texts["instructions and context"].append(event.text)
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
            case _:
                pass
    parts: dict[str, int] = {}
    if state.system is not None:
        system = await count(state.system.text)
        parts["system prompt"] = min(system, state.system.tokens)
        parts["tool declarations"] = max(0, state.system.tokens - system)
    for name, pieces in texts.items():
        if joined := "\n".join(piece for piece in pieces if piece):
            parts[name] = await count(joined)
    rest = session.conversation.used - sum(parts.values())
    if rest > 0:
        parts["chat format"] = rest
    return parts


async def usage_page(directory: Path) -> Page:
    """The usage of the turns of a stored session, added up."""
    turns = await asyncio.to_thread(_turns, directory)
    total: dict[str, float] = {}
    for turn in turns:
        for name, value in turn.usage.model_dump().items():
            total[name] = total.get(name, 0) + value
    rows = [
        ("turns", f"{len(turns)}"),
        ("steps", f"{sum(turn.steps for turn in turns)}"),
        ("time", seconds(sum(turn.worked_s for turn in turns))),
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

    return Page("Usage of this conversation", draw)


def _turns(directory: Path) -> list[TurnFinished]:
    from laguna_agent.events import TurnFinished
    from laguna_agent.trajectory.store import Trajectory

    trajectory = Trajectory.open(directory, for_append=False)
    events = [stored.event for stored in trajectory.of_type("turn_finished")]
    return [event for event in events if isinstance(event, TurnFinished)]


async def doctor_page(cwd: Path) -> Page:
    """The output of `laguna doctor`."""
    command = python_command("laguna_agent.cli", "doctor", "-C", str(cwd))
    process = await asyncio.create_subprocess_exec(
        *command, cwd="/", stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    text = out.decode("utf-8", "replace")
    return Page("Doctor", lambda width: Text(visible(text)))


def mcp_page(servers: McpServers | None, palette: Palette) -> Page:
    """The MCP servers: what each runs, its state, and the tools that are approved."""
    from laguna_agent.tools.mcp.launch import PLACES

    def draw(width: int) -> RenderableType:
        p = palette
        if servers is None:
            text = "No MCP servers. `laguna mcp add --help` shows how to add one."
            return Text(text, style=p.muted)
        parts: list[RenderableType] = []
        for server in servers.by_name.values():
            connection, setup = server.connection, server.setup
            colour = {"running": p.success, "failed": p.error}.get(connection.state, p.muted)
            about = visible(setup.about, single_line=True)
            parts.append(
                Text.assemble(
                    (server.name, "bold"),
                    (f"  {connection.state}", colour),
                    (f"  {PLACES[setup.place]}  {about}", p.muted),
                )
            )
            if connection.state == "failed":
                parts.append(Text(visible(connection.problem), style=p.error))
            table = Table.grid(padding=(0, 2))
            for name, offer in server.offers.items():
                line = visible(offer.first_line, single_line=True)
                table.add_row(Text(f"  {name}", style=p.user), Text(line))
            parts += [table] if server.offers else []
            if not server.offers:
                hint = "nothing is approved yet: the first use asks, or laguna mcp test "
                parts.append(Text(f"  {hint}{server.name}", style=p.muted))
            parts.append(Text())
        return Group(*parts)

    return Page("MCP servers", draw)


async def prompts_page(
    pack: Pack, count: Callable[[str], Awaitable[int]], palette: Palette
) -> Page:
    """The prompt pack in use: its files, and what they cost as `count` counts tokens."""
    changed = await asyncio.to_thread(pack.changed)
    rows: list[tuple[str, str]] = []
    for name, versions in sorted(pack.sources.items()):
        path, text, _ = versions[0]
        rows.append((name, f"{await count(text):>6,} tokens   {path}"))

    def draw(width: int) -> RenderableType:
        p = palette
        head = Text(f"{pack.name}", style="bold")
        head.append(f"  sha256 {pack.sha256[:12]}", style=p.muted)
        if changed:
            head.append(
                "\nits files were edited: /prompts reload starts a new conversation with them",
                style=p.warning,
            )
        table = Table.grid(padding=(0, 2))
        for left, right in rows:
            table.add_row(Text(left, style=p.user), Text(right, style=p.muted))
        hint = Text("edit one: laguna prompts edit PACK FILE · check them: laguna prompts lint",
                    style=p.muted)  # fmt: skip
        return Group(head, Text(), table, Text(), hint)

    return Page("Prompts", draw)
