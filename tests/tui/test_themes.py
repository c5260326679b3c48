"""Themes: all text is readable, as it is painted on the screen of common terminals."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from pygments.token import STANDARD_TYPES
from rich.color import Color, ColorSystem
from rich.color_triplet import ColorTriplet
from rich.style import Style
from textual.app import App
from textual.color import Color as Colour
from textual.widgets.text_area import Selection

from laguna_agent.events import Notice, Reply
from laguna_agent.interfaces.tui.themes import PALETTES, initial_theme
from laguna_agent.interfaces.tui.transcript.code_highlight import _theme as syntax_theme
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from support.scenes import DIFF, END, SCENES, WORK, SceneApp, settled

TEXT, GRAPHIC = 4.5, 3.0
"""The least contrast of text and of what is not text (WCAG 2.1, AA)."""
GLYPHS = frozenset("─━│▌▏▎▐▁▂▃▄▅▆▇█╭╮╰╯┌┐└┘▀▔▕▊▋┃")
CODE = "@@ -40,2 +40,3 @@\n-import os  # gone\n+CODE = {'a': 1.5, 2: None}\n+@new  # is it?\n"
MARKDOWN = """
> quoted `code`

# Head

[link](http://x) ~~gone~~

---

```python
@decorated  # comment
class A(Base):
    '''What it is.'''
    def f(self, *, n: int = 0x10) -> str:
        raise ValueError(f"{n!r} no") from None
```
```html
<!-- a --><p class="b">c &amp; d</p>
```
```diff
- old
+ new
```
```json
{"a": [1, true, null, "b"]}
```
"""

# Palettes of terminals: the sixteen colours. https://en.wikipedia.org/wiki/ANSI_escape_code#Colors
XTERM = (
    "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5 "
    "7f7f7f ff0000 00ff00 ffff00 5c5cff ff00ff 00ffff ffffff"
)
WINDOWS = (
    "0c0c0c c50f1f 13a10e c19c00 0037da 881798 3a96dd cccccc "
    "767676 e74856 16c60c f9f1a5 3b78ff b4009e 61d6d6 f2f2f2"
)
TANGO = (
    "000000 cc0000 4e9a06 c4a000 3465a4 75507b 06989a d3d7cf "
    "555753 ef2929 8ae234 fce94f 729fcf ad7fa8 34e2e2 eeeeec"
)
CONSOLE = (
    "000000 aa0000 00aa00 aa5500 0000aa aa00aa 00aaaa aaaaaa "
    "555555 ff5555 55ff55 ffff55 5555ff ff55ff 55ffff ffffff"
)
SOLARIZED = (
    "073642 dc322f 859900 b58900 268bd2 d33682 2aa198 eee8d5 "
    "002b36 cb4b16 586e75 657b83 839496 6c71c4 93a1a1 fdf6e3"
)
TERMINALS = {
    "terminal": {
        "xterm": (XTERM, "e5e5e5", "000000"),
        "windows": (WINDOWS, "cccccc", "0c0c0c"),
        "tango": (TANGO, "d3d7cf", "000000"),
        "console": (CONSOLE, "aaaaaa", "000000"),
    },
    "terminal-light": {
        "xterm": (XTERM, "000000", "ffffff"),
        "windows": (WINDOWS, "0c0c0c", "f2f2f2"),
        "tango": (TANGO, "2e3436", "ffffff"),
        "console": (CONSOLE, "000000", "ffffff"),
    },
}
"""By theme: the sixteen colours, the foreground and the background."""

Painted = set[tuple[str, Style]]
"""A sample of text, and its style."""


@functools.cache
def light(red: int, green: int, blue: int) -> float:
    parts = [value / 255 for value in (red, green, blue)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: ColorTriplet, other: ColorTriplet) -> float:
    """The contrast ratio of WCAG 2, 1 to 21."""
    high, low = sorted((light(*one), light(*other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def triplet(text: str) -> ColorTriplet:
    return ColorTriplet(*Colour.parse(f"#{text.removeprefix('#')}").rgb)


def ratio(style: Style, terminal: tuple[str, str, str], system: ColorSystem) -> float:
    """The contrast that a style has in a terminal."""
    colours = [triplet(one) for one in terminal[0].split()]

    def shown(colour: Color | None, default: str) -> ColorTriplet:
        if colour is None or colour.is_default:
            return triplet(default)
        colour = colour.downgrade(system)
        if colour.number is not None and colour.number < 16:
            return colours[colour.number]
        return colour.get_truecolor()

    text, ground = shown(style.color, terminal[1]), shown(style.bgcolor, terminal[2])
    if style.dim:
        text = ColorTriplet(*((a + b) // 2 for a, b in zip(text, ground, strict=True)))
    return contrast(text, ground)


def painted(app: App[int]) -> Painted:
    """What the screen in front shows, each style once."""
    found: dict[tuple[Style, bool], str] = {}
    dialog = next(iter(app.screen.query(".dialog")), app.screen)
    x, y, width, height = dialog.region
    for strip in app.screen._compositor.render_strips()[y : y + height]:
        for text, style, _ in strip.crop(x, x + width):
            if style is not None and text.strip():
                found[style, set(text.strip()) <= GLYPHS] = text.strip()
    return {(text, style) for (style, _), text in found.items()}


async def everything(theme: str) -> Painted:
    """What one app shows in many states."""
    app = SceneApp(theme)
    shown: Painted = set()
    async with app.run_test(size=(120, 90)) as pilot:
        app.happen(*WORK, *END, Reply(text=MARKDOWN))
        for level in ("info", "warning", "error"):
            app.happen(Notice(level=level, text="a notice"))  # type: ignore[arg-type]
        await settled(app, SCENES["problems"])(pilot)
        app.transcript.add(Entry("thinking", body="hm", is_open=True))
        app.transcript.add(Entry("tool", title="edit", diff=DIFF + CODE, state="ok"))
        app.composer.selection = Selection((0, 0), (1, 2))
        app.search.open()
        await pilot.pause(0.1)
        shown |= painted(app)
        app.search.close()
        app.composer.text = ""
        for scene in ("commands", "help_page", "sessions", "trust", "asks_command", "asks_edit"):
            await SCENES[scene](app, pilot)
            await pilot.pause()
            shown |= painted(app)
            while len(app.screen_stack) > 1:
                app.pop_screen()
            app.completion.close()
            app.composer.text = ""
            app.approval.withdraw()
    return shown


def unreadable(
    shown: Painted, terminal: tuple[str, str, str], system: ColorSystem
) -> Iterator[str]:
    for text, style in shown:
        least = GRAPHIC if set(text) <= GLYPHS else TEXT
        if (pair := ratio(style, terminal, system)) < least:
            yield f"{pair:.2f} {text!r} {style}"


@pytest.mark.slow
@pytest.mark.parametrize("theme", sorted(n for n, palette in PALETTES.items() if not palette.ansi))
async def test_all_that_is_painted_is_readable(theme):
    shown, p = await everything(theme), PALETTES[theme]
    assert len(shown) > 30
    terminal = (XTERM, p.foreground, p.background)
    assert not sorted(unreadable(shown, terminal, ColorSystem.TRUECOLOR))
    # Terminals with 256 colours round those of the theme.
    assert not sorted(unreadable(shown, terminal, ColorSystem.EIGHT_BIT))


@pytest.mark.slow
@pytest.mark.parametrize("theme", TERMINALS)
async def test_the_terminals_own_colours_are_readable_in_common_terminals(theme):
    shown = await everything(theme)
    colours = {c for _, style in shown for c in (style.color, style.bgcolor) if c is not None}
    assert len(colours) > 4
    for colour in colours:
        assert colour.is_default or colour.type.name == "STANDARD", colour
    for terminal in TERMINALS[theme].values():
        assert not sorted(unreadable(shown, terminal, ColorSystem.STANDARD))
    # Solarized has greys for the bright colours, and less contrast itself: nothing may vanish.
    dark = theme == "terminal"
    solarized = (SOLARIZED, "839496" if dark else "657b83", "002b36" if dark else "fdf6e3")
    assert min(ratio(style, solarized, ColorSystem.STANDARD) for _, style in shown) > 2.9


@pytest.mark.parametrize("theme", PALETTES)
def test_code_of_every_kind_is_readable_on_every_background(theme):
    p = PALETTES[theme]
    grounds = {p.panel, p.background, p.added_bg, p.removed_bg}
    terminals = TERMINALS.get(theme, {"own": (XTERM, p.foreground, p.background)})
    system = ColorSystem.STANDARD if p.ansi else ColorSystem.TRUECOLOR
    drawn = {(t, syntax_theme(p.code).get_style_for_token(t)) for t in STANDARD_TYPES}
    for token, style in drawn:
        if {"Error", "Whitespace"} & {str(part) for part in token}:
            continue
        for ground in grounds:
            on = Style(color=style.color, bgcolor=ground)
            for terminal in terminals.values():
                assert ratio(on, terminal, system) >= TEXT, (token, ground)


@pytest.mark.parametrize("theme", sorted(n for n, palette in PALETTES.items() if not palette.ansi))
def test_in_sixteen_colours_states_still_differ(theme):
    """A terminal with fewer colours rounds those of the theme."""
    p = PALETTES[theme]
    names = ["foreground", "success", "error", "background"]
    rounded = [Color.parse(getattr(p, n)).downgrade(ColorSystem.STANDARD).number for n in names]
    assert len(set(rounded)) == len(names), dict(zip(names, rounded, strict=True))


@pytest.mark.parametrize(
    ("wanted", "system", "light", "theme"),
    [
        (None, "truecolor", False, "laguna"),
        (None, "truecolor", True, "laguna-light"),
        (None, "256", False, "laguna"),
        (None, "standard", False, "terminal"),
        (None, None, False, "terminal"),
        (None, None, True, "terminal-light"),
        ("laguna", "truecolor", True, "laguna"),
        ("laguna-light", "standard", False, "terminal-light"),
        ("high-contrast", "standard", True, "terminal"),
        ("terminal", "truecolor", True, "terminal"),
        ("gone", "truecolor", False, "laguna"),
    ],
)
def test_the_initial_theme_is_the_saved_one_or_one_the_terminal_can_show(
    wanted, system, light, theme
):
    assert initial_theme(wanted, system, light=light) == theme


async def test_without_colour_nothing_is_coloured_and_marks_are_reversed(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = SceneApp("laguna")
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(app, SCENES["finished"])(pilot)
        shown = painted(app)
        app.composer.text = "chosen"
        app.composer.select_all()
        await settled(app, SCENES["sessions"])(pilot)
        shown |= painted(app)
        app.pop_screen()
        await pilot.pause()
        shown |= painted(app)
    for text, style in shown:
        for colour in (style.color, style.bgcolor):
            assert colour is None or colour.is_default, (text, style)
    marked = " ".join(text for text, style in shown if style.reverse or style.underline)
    for text in ("ask", "Why do vouchers", "chosen"):
        assert text in marked


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["laguna", "terminal"])  # one with colours, one without
@pytest.mark.parametrize("scene", ["finished", "asks_command", "running", "sessions"])
async def test_nothing_is_shown_by_colour_alone(theme, scene):
    """Without colours: ✓ ✗ ● for calls, + - for lines, words for states."""
    app = SceneApp(theme)
    async with app.run_test(size=(100, 60)) as pilot:
        await settled(app, SCENES[scene])(pilot)
        strips = app.screen._compositor.render_strips()
        shown = "\n".join(strip.text for strip in strips)
    wanted = {
        "finished": ["✓ edit shop/cart.py", "✗ pytest -q test_cart.py", "─ done", " ask "],
        "asks_command": ["Run this command?", "❯", "enter confirms"],
        "running": ["● pytest -x", "before the next step:", "after this:"],
        "sessions": ["enter chooses", "Resume a conversation"],
    }
    for text in wanted[scene]:
        assert text in shown
