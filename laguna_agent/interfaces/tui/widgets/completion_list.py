"""The list of completions: commands after `/`, files and symbols after `@`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widget import Widget

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.policy.sanitize import visible

ROWS = 8


class CompletionList(Widget):
    """Shows the choices, the current one marked."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.word = ""
        self.choices: list[tuple[str, str]] = []
        self.note = ""
        self.index = 0
        self.display = False

    def offer(self, word: str, choices: Sequence[tuple[str, str]], note: str = "") -> None:
        """Show (text, description) choices for the typed `word`, and a note below them.

        An empty list without a note hides the widget. The marked choice stays marked while more
        choices arrive for the same word.
        """
        marked = self.choices[self.index] if self.index and word == self.word else None
        self.word, self.choices, self.note = word, list(choices), note
        self.index = self.choices.index(marked) if marked in self.choices else 0
        self.display = bool(self.choices or note)
        self.refresh(layout=True)

    def close(self) -> None:
        """Hide the list."""
        self.offer("", [])

    @property
    def is_open(self) -> bool:
        """Whether there are choices."""
        return bool(self.choices)

    @property
    def chosen(self) -> str:
        """The marked choice."""
        return self.choices[self.index][0]

    def move(self, step: int) -> None:
        """Mark the choice `step` rows below."""
        self.index = (self.index + step) % len(self.choices)
        self.refresh()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return min(ROWS, len(self.choices)) + bool(self.note)

    def render(self) -> Text:
        p, width = self.palette, self.size.width
        first = max(0, min(self.index - ROWS // 2, len(self.choices) - ROWS))
        shown = self.choices[first : first + ROWS]
        column = min(max((len(name) for name, _ in shown), default=0) + 2, max(12, width * 2 // 3))
        lines = []
        for number, (name, description) in enumerate(shown, first):
            chosen = number == self.index
            line = Text("▌ " if chosen else "  ", style=p.accent, no_wrap=True)
            label = Text(visible(name, single_line=True))
            if label.cell_len > column:
                label = Text("…" + label.plain[-(column - 1) :])
            label.pad_right(max(0, column - label.cell_len))
            line.append_text(label)
            line.stylize(f"bold {p.accent}" if chosen else p.foreground, 2)
            line.append(visible(description, single_line=True), style=p.muted)
            line.truncate(width, overflow="ellipsis")
            lines.append(line)
        if self.note:
            note = Text("  " + self.note, style=p.muted, no_wrap=True)
            note.truncate(width, overflow="ellipsis")
            lines.append(note)
        return Text("\n").join(lines)
