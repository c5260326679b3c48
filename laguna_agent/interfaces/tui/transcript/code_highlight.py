"""Highlights code line by line; a line that was drawn before is the same object the next time.

Streaming code is lexed again with every frame, but only its changed lines are drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from laguna_agent.interfaces.tui.themes import Palette

if TYPE_CHECKING:
    from rich.syntax import Syntax, SyntaxTheme

_CACHED_LINES = 2_000
_ANSI_STYLES = {
    "ansi_dark": ("cyan", "green", "bright_yellow", "bright_cyan"),
    "ansi_light": ("blue", "magenta", "red", "blue"),
}
"""Colours of keywords, strings, numbers and names, as far apart as the background lets them be."""
_Line = tuple[tuple[str, Style], ...]


class CodeLines:
    """Draws code in one palette as Rich's `Syntax` does, word-wrapped, with a cell of padding on
    each side."""

    def __init__(self, console: Console, palette: Palette) -> None:
        self._console = console
        self._palette = palette
        self._drawn: dict[tuple[int, _Line], list[list[Segment]]] = {}
        self._lexers: dict[str, Any] = {}

    def draw(self, code: str, language: str, width: int) -> list[list[Segment]]:
        """The lines of `code`, `width` cells wide. They are shared: do not change them."""
        lines: list[list[Segment]] = []
        for tokens in self._tokens(code, language):
            drawn = self._drawn.get((width, tokens))
            if drawn is None:
                if len(self._drawn) >= _CACHED_LINES:
                    self._drawn.clear()
                drawn = self._drawn[width, tokens] = self._draw_line(tokens, width)
            lines += drawn
        return lines

    def _draw_line(self, tokens: _Line, width: int) -> list[list[Segment]]:
        background = self._plain.background_style
        base = self._theme.get_background_style() + background
        justify: JustifyMethod = "default" if base.transparent_background else "left"
        text = Text(style=base, justify=justify, tab_size=self._plain.tab_size)
        text.append_tokens(tokens)
        text.stylize(background)
        options = self._console.options.update(width=width, height=None, justify="left")
        padded = Padding(text, (0, 1), style=base)
        return self._console.render_lines(padded, options, pad=False)

    def _tokens(self, code: str, language: str) -> Iterator[_Line]:
        """The tokens of each line with their styles."""
        style_of = self._theme.get_style_for_token
        line: list[tuple[str, Style]] = []
        text = f"{code}\n".expandtabs(self._plain.tab_size)
        for kind, token in self._lexer(language).get_tokens(text):
            first, *others = token.split("\n")
            if first:
                line.append((first, style_of(kind)))
            for other in others:
                yield tuple(line)
                line = [(other, style_of(kind))] if other else []
        if line:
            yield tuple(line)

    # Rich creates lexers and themes again on each access.

    @cached_property
    def _plain(self) -> Syntax:
        return syntax("", "", self._palette)

    @cached_property
    def _theme(self) -> SyntaxTheme:
        return _theme(self._palette.code)

    def _lexer(self, language: str) -> Any:
        if language not in self._lexers:
            plain = syntax(language, "", self._palette)
            self._lexers[language] = plain.lexer or plain.default_lexer
        return self._lexers[language]


def syntax(language: str, code: str, palette: Palette) -> Syntax:
    """Code for Rich to draw. `language` is a lexer name or empty."""
    from rich.syntax import Syntax

    background = "default" if palette.ansi else palette.panel
    return Syntax(
        code, language or "text", theme=_theme(palette.code), word_wrap=True,
        background_color=background, padding=(0, 1),
    )  # fmt: skip


@cache
def _theme(name: str) -> SyntaxTheme:
    """A theme of the terminal's own colours, or a Pygments style."""
    from pygments import token as t
    from rich.syntax import ANSISyntaxTheme, PygmentsSyntaxTheme

    if name not in _ANSI_STYLES:
        return PygmentsSyntaxTheme(name)
    keyword, string, number, name_of = _ANSI_STYLES[name]
    return ANSISyntaxTheme({
        t.Comment: Style(italic=True),
        t.Keyword: Style(color=keyword, bold=True),
        t.Operator.Word: Style(color=keyword, bold=True),
        t.String: Style(color=string),
        t.Number: Style(color=number),
        t.Name.Function: Style(color=name_of, bold=True),
        t.Name.Class: Style(color=name_of, bold=True),
        t.Name.Decorator: Style(color=name_of),
        t.Name.Tag: Style(color=keyword),
        t.Name.Attribute: Style(color=name_of),
        t.Generic.Heading: Style(bold=True),
        t.Generic.Inserted: Style(color=string),
        t.Generic.Deleted: Style(color=number),
    })  # fmt: skip
