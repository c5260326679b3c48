"""What can be completed: commands after `/`, files and symbols after `@`, and the list of them."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from rich.text import Text
from textual.widget import Widget

from laguna_agent.interfaces.tui.fuzzy import Names
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.policy.display import is_plain, visible
from laguna_agent.tools.gitcommand import GitError, quiet_git

ROWS = 8
_FRESH_S = 20.0


class Workspace:
    """Files of the repository (ignored ones left out) and its symbols, found in threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files = Names([])
        self._symbols = Names([])
        self._places: dict[str, str] = {}
        self._listed = float("-inf")
        self._indexed = False
        self._lock = asyncio.Lock()

    async def find(self, query: str) -> list[tuple[str, str]]:
        """(what is put in, what is said beside it) of the best matches."""
        async with self._lock:
            if time.monotonic() - self._listed > _FRESH_S:
                self._files = await asyncio.to_thread(self._list)
                self._listed = time.monotonic()
        found = await asyncio.to_thread(self._files.find, query)
        hits = [(name, "") for name in found[: ROWS * 3]]
        if len(query) >= 2 and "/" not in query and "." not in query:
            hits = hits[: ROWS - 3] + await self._find_symbols(query) + hits[ROWS - 3 :]
        return hits

    async def _find_symbols(self, query: str) -> list[tuple[str, str]]:
        async with self._lock:
            if not self._indexed and len(self._files) <= 20_000:
                self._indexed = True
                await asyncio.to_thread(self._index)
        names = await asyncio.to_thread(self._symbols.find, query, 3)
        return [(self._places[name], name) for name in names]

    def _list(self) -> Names:
        command = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        try:
            out = quiet_git(self.root, *command, timeout=30)
            names = [os.fsdecode(name) for name in out.split(b"\0") if name]
        except GitError:
            from laguna_agent.tools.walk import walk

            names = [entry.relative for entry in walk(self.root, limit=200_000)]
        names = [name for name in dict.fromkeys(names) if is_plain(name)]
        folders = {os.path.dirname(name) + "/" for name in names if "/" in name}
        return Names([*names, *sorted(folders)])

    def _index(self) -> None:
        from laguna_agent.paths import repository_state_dir
        from laguna_agent.tools.codeindex import Cache, sources

        cache = Cache(repository_state_dir(self.root))
        for path, index in cache.indexes(sources(self.root)).items():
            for definition in index.definitions:
                self._places.setdefault(definition.name, f"{path}:{definition.line}")
        self._symbols = Names(list(self._places))


class CompletionList(Widget):
    """The choices below the transcript, the chosen one marked."""

    def __init__(self, palette: Palette, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.palette = palette
        self.word = ""
        self.choices: list[tuple[str, str]] = []
        self.index = 0
        self.display = False

    def offer(self, word: str, choices: list[tuple[str, str]]) -> None:
        """Show (text, about) choices for the word that is being typed; none hides the list."""
        self.word, self.choices, self.index = word, choices, 0
        self.display = bool(choices)
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
        return min(ROWS, len(self.choices))

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
        return Text("\n").join(lines)
