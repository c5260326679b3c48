"""The welcome above an empty transcript: the model and its pace, the mode, what to try, keys.

It takes the room that there is, from 20x5 on, the most useful lines first, and goes with the first
message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from laguna_agent import __version__
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript.rendering import seconds
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.agent.model_speed import ModelSpeed
    from laguna_agent.models.conversation import ModelInfo

_FILE_TOKENS = 3_000
"""Tokens of a file of 300 lines."""
_WIDEST = 100
_NOTICES = 3
"""Lines that are left for notices below it."""
_KEYS = (
    ("enter", "sends"), ("@", "a file"), ("/", "commands"), ("!", "a shell command"),
    ("esc", "stops"), ("f1", "help"),
)  # fmt: skip


@dataclass
class _Line:
    """A line in forms from the longest to the shortest. Those of a higher `rank` go first where
    there is no room; `gap` is an empty line above it."""

    rank: int
    forms: Sequence[Text]
    gap: bool = False


class Welcome(Widget):
    """Shows what a person needs to begin; its parts come as they are known."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.suggestions: Sequence[str] = ()
        """First messages that fit the repository."""
        self._info: ModelInfo | None = None
        self._speed: ModelSpeed | None = None
        self._mode = self._about_mode = ""

    def show_model(self, info: ModelInfo) -> None:
        """Show the model that is loaded."""
        self._info, self._speed = info, None
        self.refresh(layout=True)

    def show_speed(self, speed: ModelSpeed) -> None:
        """Show how fast the model was measured to be."""
        self._speed = speed
        self.refresh(layout=True)

    def show_mode(self, mode: str, about: str) -> None:
        """Show what laguna does without asking."""
        if mode != self._mode:
            self._mode, self._about_mode = mode, about
            self.refresh(layout=True)

    def suggest(self, suggestions: Sequence[str]) -> None:
        """Show first messages that fit the repository."""
        self.suggestions = suggestions
        self.refresh(layout=True)

    def next_suggestion(self, typed: str) -> str | None:
        """The suggestion after the one that is typed, or the first; None if something else is."""
        if not self.display or not self.suggestions or (typed and typed not in self.suggestions):
            return None
        place = self.suggestions.index(typed) + 1 if typed else 0
        return self.suggestions[place % len(self.suggestions)]

    # --- drawing ---------------------------------------------------------------------------

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.lines(width, container.height))

    def render(self) -> Text:
        room = self.parent.size.height if isinstance(self.parent, Widget) else self.size.height
        return Text("\n").join(self.lines(self.size.width, room))

    def lines(self, width: int, height: int) -> list[Text]:
        """The lines for so many cells and rows, at most."""
        lines = self._all_lines()
        room = height - _NOTICES if height > 2 * _NOTICES else height
        gaps = True
        while len(lines) > 1 and len(lines) + gaps * sum(line.gap for line in lines) > room:
            if gaps:
                gaps = False
            else:
                lines.remove(max(lines, key=lambda line: line.rank))
        shown: list[Text] = []
        for line in lines:
            if line.gap and gaps and shown:
                shown.append(Text())
            fits = min(width, _WIDEST)
            form = next((f for f in line.forms if f.cell_len <= fits), line.forms[-1]).copy()
            form.truncate(fits, overflow="ellipsis")
            form.no_wrap = True
            shown.append(form)
        return shown[:height]

    def _all_lines(self) -> list[_Line]:
        p = self.palette
        return [
            _Line(0, self._head()),
            *self._pace(),
            *self._mode_line(),
            *(
                _Line(
                    (3, 6, 7)[number],
                    [Text.assemble(("› ", p.accent), (visible(text, single_line=True), p.user))],
                    gap=number == 0,
                )
                for number, text in enumerate(self.suggestions[:3])
            ),
            *self._keys(),
        ]

    def _head(self) -> list[Text]:
        p, info = self.palette, self._info
        name = Text.assemble(("≈ ", f"bold {p.accent}"), ("laguna", "bold"))
        if info is None:
            return [name.copy().append(f" {__version__}", style=p.muted), name]
        model = visible(info.name, single_line=True)
        facts = [f"{info.parameters / 1e9:.1f}B"] if info.parameters else []
        facts += [info.quantization] if info.quantization else []
        mark = Text("≈ ", style=f"bold {p.accent}")
        return [
            Text.assemble(name, (f" {__version__} · ", p.muted), model,
                          ("".join(f" · {fact}" for fact in facts), p.muted)),
            Text.assemble(name, (" · ", p.muted), model),
            Text.assemble(mark, model),
        ]  # fmt: skip

    def _pace(self) -> list[_Line]:
        p, info, speed = self.palette, self._info, self._speed
        if info is None:
            return []
        context, short = f"{info.context:,} tokens of context", f"{info.context // 1024}k context"
        parts = [f"reads {speed.reads:,.0f}"] if speed and speed.reads else []
        parts += [f"writes {speed.writes:,.0f}"] if speed and speed.writes else []
        texts = [context, short]
        if speed and parts:
            rates = f"{' and '.join(parts)} tokens/s"
            texts = [
                f"{rates} (measured) · {context}",
                f"{rates} · {short}",
                f"{', '.join(parts)}/s",
                f"{'/'.join(part.split()[1] for part in parts)} tokens/s",
            ]
            if speed.reads:
                wait = seconds(max(1.0, _FILE_TOKENS / speed.reads))
                texts.insert(0, f"{rates} · 300 lines take {wait} to read · {context}")
        elif speed is not None:
            texts.insert(0, f"{context} · its pace is measured in the first turn")
        return [_Line(1, [Text(f"  {text}", style=p.muted) for text in texts])]

    def _mode_line(self) -> list[_Line]:
        p = self.palette
        if not self._mode:
            return []
        about = self._about_mode
        key = " · shift+tab changes it"
        word = Text().append(f"  {self._mode}", f"bold {p.foreground}")
        texts = [f": {about}{key}", f": {about}", ""]
        return [_Line(4, [word.copy().append(text, style=p.muted) for text in texts])]

    def _keys(self) -> list[_Line]:
        p = self.palette
        keys = (("tab", "fills one in"), *_KEYS) if self.suggestions else _KEYS

        def row(shown: Sequence[tuple[str, str]]) -> Text:
            text = Text("  ")
            for key, about in shown:
                text.append("" if text.plain == "  " else "  ")
                text.append(key, style=f"bold {p.foreground}")
                text.append(f" {about}", style=p.muted)
            return text

        few = (("tab", "fills in"),) if self.suggestions else ()
        chosen = [keys, [*few, *_KEYS[1:]], [*few, *_KEYS[2:3], _KEYS[-1]], _KEYS[-1:]]
        return [_Line(2, [row(shown) for shown in chosen], gap=True)]
