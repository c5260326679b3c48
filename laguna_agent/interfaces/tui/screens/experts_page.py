"""The page of `/experts`: the last reply's heat map, and what it says about placement."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from laguna_agent.byte_sizes import gib
from laguna_agent.errors import LagunaError
from laguna_agent.events import Reply
from laguna_agent.interfaces.routing_report import make_report, map_of, summary
from laguna_agent.interfaces.tui.screens.dialogs import Page
from laguna_agent.interfaces.tui.themes import Palette

if TYPE_CHECKING:
    from laguna_agent.agent.session import Session
    from laguna_agent.models.gguf import GgufHeader
    from laguna_agent.models.routing import Routing
    from laguna_agent.models.sizing.placement import CardGain


def last_reply(session: Session) -> Reply | None:
    """The last reply in the prompt; None before the first."""
    for stored in reversed(session.conversation_state.history):
        if isinstance(stored.event, Reply) and not stored.event.discarded:
            return stored.event
    return None


async def experts_page(reply: Reply, routing: Routing, palette: Palette, context: int) -> Page:
    """The page for a reply and the experts that it chose."""
    report = make_report("", [routing])
    (text,) = report["texts"]
    header, cards = await asyncio.to_thread(_placed, routing.file, context)

    def draw(width: int) -> RenderableType:
        about = Text(f"{summary(text, routing.experts)}.\n")
        parts = [about, *_map(text, report["layers"], width, palette)]
        if header is not None:
            parts += [Text(), *_placement(reply, routing, header, cards, palette)]
        return Group(*parts)

    return Page("Experts of the last reply", draw)


def _map(
    text: dict[str, Any], layers: list[int], width: int, palette: Palette
) -> list[RenderableType]:
    p = palette
    colours = ("", p.muted, p.muted, p.accent, p.warning, p.error)
    drawn = map_of(text, layers, width)
    label = max(2, *(len(str(row.layer)) for row in drawn.rows))
    lines: list[RenderableType] = [Text(drawn.heading, style=p.muted, no_wrap=True)]
    for row in drawn.rows:
        line = Text(f"{row.layer:>{label}} ", no_wrap=True)
        for shade, cell in zip(row.shades, row.cells, strict=True):
            line.append(cell, colours[shade])
        lines.append(line.append(row.figures))
    lines.append(Text(drawn.legend(), style=p.muted))
    if note := drawn.note():
        lines.append(Text(note, style=p.muted))
    return lines


def _placed(file: str, context: int) -> tuple[GgufHeader | None, list[CardGain]]:
    from laguna_agent.config import load_config
    from laguna_agent.models.gguf import read_header
    from laguna_agent.models.sizing.placement import card_gains

    try:
        header = read_header(Path(file))
    except LagunaError:  # the file went away: the map is still worth seeing
        return None, []
    return header, card_gains(header, load_config().engine, context)


def _placement(
    reply: Reply,
    routing: Routing,
    header: GgufHeader,
    cards: list[CardGain],
    palette: Palette,
) -> list[RenderableType]:
    from laguna_agent.models.sizing.hardware import gpus
    from laguna_agent.models.sizing.placement import read_per_token

    whole = sum(header.expert_bytes.values())
    touched = int(whole * float((routing.load() > 0).mean()))
    rate = 0.0
    if reply.timings.decode_s and reply.usage.completion_tokens > 1 and not gpus():
        rate = (reply.usage.completion_tokens - 1) / reply.timings.decode_s
    about = (
        f"The reply used {gib(touched)} of {gib(whole)} of experts, and each token reads "
        f"{gib(read_per_token(header))}. llama.cpp places the experts of a layer together, on a "
        "card or in main memory:"
    )
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    style = palette.muted
    table.add_row(*(Text(name, style=style) for name in ("card", "layers", "tokens/s at most")))
    if rate:
        table.add_row("none", "0", f"{rate:.1f} (measured)")
    for one in cards:
        gain = "all on the card" if math.isinf(one.gain) else f"{one.gain:.1f} ×"
        if rate and not math.isinf(one.gain):
            gain = f"{rate * one.gain:.1f}"
        table.add_row(gib(one.card), f"{one.layers} of {len(header.expert_bytes)}", gain)
    return [Text(about), table]
