"""Code in colours, line by line: a line that was drawn before is the same object the next time.

Code that streams is looked at anew with every frame; only its lines that changed are drawn anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from laguna_agent.interfaces.tui.themes import Palette

if TYPE_CHECKING:
    from rich.syntax import Syntax

_KEPT = 2_000
"""Drawn lines that are remembered."""
_Line = tuple[tuple[str, Style], ...]


class CodeLines:
    """Draws code in the colours of one palette as Rich's `Syntax` does, with words wrapped and one
    cell of room on each side."""

    def __init__(self, console: Console, palette: Palette) -> None:
        self._console = console
        self._palette = palette
        self._drawn: dict[tuple[int, _Line], list[list[Segment]]] = {}
        self._languages: dict[str, Syntax] = {}

    def draw(self, code: str, language: str, width: int) -> list[list[Segment]]:
        """Lines of `width` cells. They are shared: nobody may change them."""
        syntax = self._languages.get(language)
        if syntax is None:
            syntax = self._languages[language] = code_in(language, "", self._palette)
        lines: list[list[Segment]] = []
        for tokens in _tokens(syntax, self._palette.code, code):
            known = self._drawn.get((width, tokens))
            if known is None:
                if len(self._drawn) >= _KEPT:
                    self._drawn.clear()
                known = self._drawn[width, tokens] = self._draw_line(tokens, syntax, width)
            lines += known
        return lines

    def _draw_line(self, tokens: _Line, syntax: Syntax, width: int) -> list[list[Segment]]:
        theme = syntax.get_theme(self._palette.code)
        base = theme.get_background_style() + syntax.background_style
        justify: JustifyMethod = "default" if base.transparent_background else "left"
        text = Text(style=base, justify=justify, tab_size=syntax.tab_size)
        text.append_tokens(tokens)
        text.stylize(syntax.background_style)
        options = self._console.options.update(width=width, height=None, justify="left")
        padded = Padding(text, (0, 1), style=base)
        return self._console.render_lines(padded, options, pad=False)


def code_in(language: str, code: str, palette: Palette) -> Syntax:
    """Code as Rich draws it. `language` is a name or an empty string."""
    from rich.syntax import Syntax

    background = "default" if palette.ansi else palette.panel
    return Syntax(
        code, language or "text", theme=palette.code, word_wrap=True,
        background_color=background, padding=(0, 1),
    )  # fmt: skip


def _tokens(syntax: Syntax, theme: str, code: str) -> Iterator[_Line]:
    """The tokens of each line, with their styles."""
    style_of = syntax.get_theme(theme).get_style_for_token
    lexer = syntax.lexer or syntax.default_lexer
    line: list[tuple[str, Style]] = []
    for kind, token in lexer.get_tokens(f"{code}\n".expandtabs(syntax.tab_size)):
        first, *others = token.split("\n")
        if first:
            line.append((first, style_of(kind)))
        for other in others:
            yield tuple(line)
            line = [(other, style_of(kind))] if other else []
    if line:
        yield tuple(line)
