"""Draws Markdown: Rich's own elements, and ours for headings, rules, code blocks and tables.

Prose stops at `PROSE` columns; code and tables take the whole width.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len
from rich.console import (
    Console,
    ConsoleOptions,
    RenderableType,
    RenderResult,
)
from rich.style import Style
from rich.text import Text

from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript.code_highlight import syntax
from laguna_agent.policy.sanitize import visible

PROSE = 100
"""Most columns of a line of prose."""
COPY_HINT = "alt+c copies"
_LONGEST_WORD = 20
"""Cells of a word in a table above which it may be broken. Where a shorter one had to be, the
rows are drawn as lists."""


class CodeBlock(NamedTuple):
    """A code block of a text."""

    language: str
    code: str


def code_blocks(text: str) -> list[CodeBlock]:
    """The code blocks of a Markdown text, those in lists too."""
    return [
        CodeBlock((token.info.split() or [""])[0], token.content)
        for token in _parser().parse(text)
        if token.type in ("fence", "code_block")
    ]


def markdown(text: str, palette: Palette, *, copy_key: bool = True) -> RenderableType:
    """A Markdown text for Rich to draw, its code with the key that copies it."""
    drawn: RenderableType = _markdown_class()(visible(text), palette, copy_key=copy_key)
    return drawn


def code_label(language: str, width: int, palette: Palette, *, copy_key: bool = True) -> Text:
    """The line above a code block: its language, and the key that copies it."""
    ground = "default" if palette.ansi else palette.panel
    name = Text(f" {visible(language, single_line=True) or 'text'}", no_wrap=True)
    name.truncate(width, overflow="ellipsis")
    room = width - name.cell_len - len(COPY_HINT) - 1
    if copy_key and room >= 2:
        name.append(" " * room + COPY_HINT + " ")
    name.pad_right(max(0, width - name.cell_len))
    name.stylize(f"{palette.muted} on {ground}")
    return name


def prose_options(options: ConsoleOptions) -> ConsoleOptions:
    """The options for text of at most `PROSE` columns."""
    return options.update(width=min(options.max_width, PROSE))


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


def _rules_for_headings(tokens: list[Any]) -> list[Any]:
    """A line of dashes right below a sentence is meant as a rule, not to make it a heading."""
    from markdown_it.token import Token

    found: list[Any] = []
    for number, token in enumerate(tokens):
        if token.type == "heading_open" and token.markup == "-":
            text = tokens[number + 1].content
            if "\n" in text or text.rstrip().endswith((".", ":", "!", "?", ";", ",")):
                token.type, token.tag = "paragraph_open", "p"
        elif token.type == "heading_close" and token.markup == "-":
            opening = next(t for t in reversed(found) if t.type in _OPENINGS)
            if opening.type == "paragraph_open":
                token.type, token.tag = "paragraph_close", "p"
                found += [token, Token("hr", "hr", 0, markup="---")]
                continue
        found.append(token)
    return found


_OPENINGS = ("heading_open", "paragraph_open")


@cache
def _markdown_class() -> type[Any]:
    """Rich's Markdown with our elements; imported only when the first text is drawn."""
    from rich import box
    from rich import markdown as rich_markdown
    from rich.rule import Rule
    from rich.table import Table

    _current: list[LagunaMarkdown] = []

    class Heading(rich_markdown.Heading):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            self.text.justify = "left"
            yield from console.render(self.text, prose_options(options))

    class Paragraph(rich_markdown.Paragraph):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            self.text.justify = self.justify
            yield from console.render(self.text, prose_options(options))

    class Quote(rich_markdown.BlockQuote):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            yield from super().__rich_console__(console, prose_options(options))

    class List(rich_markdown.ListElement):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            yield from super().__rich_console__(console, prose_options(options))

    class HorizontalRule(rich_markdown.HorizontalRule):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            rule = Rule(style=console.get_style("markdown.hr"), characters="─")
            yield from console.render(rule, prose_options(options))

    class Code(rich_markdown.CodeBlock):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            palette, copy_key = _current[-1].palette, _current[-1].copy_key
            language = "" if self.lexer_name == "text" else self.lexer_name
            yield code_label(language, options.max_width, palette, copy_key=copy_key)
            yield syntax(language, str(self.text).removesuffix("\n"), palette)

    class TableElement(rich_markdown.TableElement):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            heads = self.header.row.cells if self.header and self.header.row else []
            rows = [[cell.content for cell in row.cells] for row in self.body.rows if row.cells] \
                if self.body else []  # fmt: skip
            width = options.max_width
            columns = [[head.content, *cells] for head, *cells in zip(heads, *rows, strict=False)]
            widest = [max(one.cell_len for one in column) for column in columns]
            words = [
                max((cell_len(word) for one in column for word in one.plain.split()), default=1)
                for column in columns
            ]
            least = [min(longest, _LONGEST_WORD) for longest in words]
            if sum(widest) + 2 * len(heads) > width < sum(least) + 2 * len(heads):
                yield from self._lists([head.content for head in heads], rows)
                return
            table = Table(box=box.SIMPLE, pad_edge=False, style="markdown.table.border",
                          show_edge=False, collapse_padding=True)  # fmt: skip
            for head, cells in zip(heads, least, strict=True):
                title = head.content.copy()
                title.stylize("markdown.table.header")
                table.add_column(
                    title, overflow="fold", min_width=cells,
                    justify=head.justify,  # pyright: ignore[reportArgumentType]  # Rich calls it str
                )  # fmt: skip
            for row in rows:
                table.add_row(*row)
            yield table

        def _lists(self, heads: list[Text], rows: list[list[Text]]) -> RenderResult:
            """Each row as a list of its cells: the columns would be too narrow to read."""
            for number, row in enumerate(rows):
                if number:
                    yield Text()
                for head, cell in zip(heads, row, strict=False):
                    line = Text.assemble((head.plain, "bold"), ": " if head.plain else "", cell)
                    line.overflow = "fold"
                    yield line

    class LagunaMarkdown(rich_markdown.Markdown):
        elements: ClassVar[dict[str, Any]] = {
            **rich_markdown.Markdown.elements,
            "heading_open": Heading,
            "paragraph_open": Paragraph,
            "blockquote_open": Quote,
            "bullet_list_open": List,
            "ordered_list_open": List,
            "hr": HorizontalRule,
            "fence": Code,
            "code_block": Code,
            "table_open": TableElement,
        }

        def __init__(self, text: str, palette: Palette, *, copy_key: bool) -> None:
            super().__init__("", hyperlinks=False)
            self.markup, self.palette, self.copy_key = text, palette, copy_key
            self.parsed = _rules_for_headings(_parser().parse(text))

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            from rich.theme import Theme

            _current.append(self)
            try:
                with console.use_theme(Theme(_styles(self.palette), inherit=True)):
                    yield from super().__rich_console__(console, options)
            finally:
                _current.pop()

    return LagunaMarkdown


def _styles(palette: Palette) -> dict[str, Style | str]:
    inline = palette.accent if palette.ansi else f"{palette.accent} on {palette.panel}"
    return {
        "markdown.h1": f"bold {palette.accent}",
        "markdown.h2": f"bold {palette.accent}",
        "markdown.h3": "bold",
        "markdown.h4": "bold",
        "markdown.code": inline,
        "markdown.block_quote": palette.muted,
        "markdown.item.bullet": palette.accent,
        "markdown.item.number": palette.accent,
        "markdown.link": f"underline {palette.user}",
        "markdown.link_url": f"underline {palette.user}",
        "markdown.hr": palette.muted,
        "markdown.table.border": palette.muted,
        "markdown.table.header": "bold",
    }
