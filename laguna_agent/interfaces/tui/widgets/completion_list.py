"""The list of what can be completed: commands after `/`, files and symbols after `@`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widget import Widget

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.policy.sanitize import visible

ROWS = 8


class CompletionList(Widget):
    """The choices below the transcript, the chosen one marked."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.word = ""
        self.choices: list[tuple[str, str]] = []
        self.note = ""
        self.index = 0
        self.display = False

    def offer(self, word: str, choices: Sequence[tuple[str, str]], note: str = "") -> None:
        """Show (text, about) choices for the word that is being typed, and a note on them below.

        Nothing to show hides the list. What a person marked stays marked while more comes for the
        same word.
        """
        marked = self.choices[self.index] if self.index and word == self.word else None
        self.word, self.choices, self.note = word, list(choices), note
        self.index = self.choices.index(marked) if marked in self.choices else 0
        self.display = bool(self.choices or note)
        self.refresh(layout=True)

    @property
    def is_open(self) -> bool:
        """Whether there is something to choose."""
        return bool(self.choices)

    @property
    def chosen(self) -> str:
        """The marked choice."""
        return self.choices[self.index][0]

    def move(self, step: int) -> None:
        """Mark another one."""
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
        for number, (name, about) in enumerate(shown, first):
            chosen = number == self.index
            line = Text("▌ " if chosen else "  ", style=p.accent, no_wrap=True)
            label = Text(visible(name, single_line=True))
            if label.cell_len > column:
                label = Text("…" + label.plain[-(column - 1) :])
            label.pad_right(max(0, column - label.cell_len))
            line.append_text(label)
            line.stylize(f"bold {p.accent}" if chosen else p.foreground, 2)
            line.append(visible(about, single_line=True), style=p.muted)
            line.truncate(width, overflow="ellipsis")
            lines.append(line)
        if self.note:
            note = Text("  " + self.note, style=p.muted, no_wrap=True)
            note.truncate(width, overflow="ellipsis")
            lines.append(note)
        return Text("\n").join(lines)
