"""Themes: every combination of text and background is readable."""

from __future__ import annotations

import itertools

import pytest
from rich.color import Color, ColorSystem
from rich.style import Style
from rich.syntax import Syntax
from textual.color import Color as Colour

from laguna_agent.events import Reply
from laguna_agent.interfaces.tui.themes import PALETTES, initial_theme
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from support.scenes import ANSWER, DIFF, SCENES, SceneApp, settled

OWN = sorted(name for name, palette in PALETTES.items() if not palette.ansi)
ANSI = sorted(name for name, palette in PALETTES.items() if palette.ansi)
TEXT, DIM = 4.5, 3.0
CODE = "@@ -40,2 +40,3 @@\n-import os  # gone\n+CODE = {'a': 1.5, 2: None}\n+@new\n"
MARKDOWN = "\n> quoted `code`\n\n# Head\n\n[link](http://x) ~~gone~~\n---\n"
ENTRIES = (
    Entry("banner", title="laguna", body="model\n~/shop"),
    Entry("user", body="why?"),
    Entry("answer", body=ANSWER + MARKDOWN),
    Entry("thinking", body="hm", is_open=True),
    Entry("notice", title="a notice", state="warning"),
    Entry("notice", title="a notice", state="error"),
    Entry("tool", title="edit", diff=DIFF + CODE, state="ok", summary="+1"),
    Entry("tool", title="pytest", body="failed", state="failed", summary="exit 1"),
    Entry("end", title="done", summary="3 steps"),
)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2, 1 to 21."""

    def light(text: str) -> float:
        parts = [value / 255 for value in Colour.parse(text).rgb]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def hexadecimal(colour: Color | None, default: str) -> str:
    if colour is None or colour.is_default:
        return default
    return "#{:02x}{:02x}{:02x}".format(*colour.get_truecolor())


@pytest.mark.parametrize("theme", OWN)
def test_every_text_colour_is_readable_on_every_background(theme):
    p = PALETTES[theme]
    texts = ["foreground", "accent", "user", "success", "warning", "error"]
    for text, ground in itertools.product(texts, ["background", "panel"]):
        pair = contrast(getattr(p, text), getattr(p, ground))
        assert pair >= TEXT, (text, ground, round(pair, 2))
    for ground in (p.background, p.panel, p.added_bg, p.removed_bg):
        assert contrast(p.muted, ground) >= DIM
    assert contrast(p.foreground, p.added_bg) >= TEXT
    assert contrast(p.foreground, p.removed_bg) >= TEXT
    assert contrast(p.success, p.added_bg) >= TEXT
    assert contrast(p.error, p.removed_bg) >= TEXT


@pytest.mark.parametrize("theme", OWN)
def test_highlighted_rows_modes_and_selections_are_readable(theme):
    """Reversed text: the highlighted row, the mode, a selection."""
    p = PALETTES[theme]
    for ground in (p.accent, p.user, p.success, p.warning, p.error):
        assert contrast(p.background, ground) >= TEXT
    selected = Colour.parse(p.background).blend(Colour.parse(p.accent), 0.35)
    assert contrast(p.foreground, selected.hex6) >= TEXT


@pytest.mark.parametrize("theme", OWN)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.title}")
def test_everything_an_entry_draws_is_readable(theme, entry):
    p = PALETTES[theme]
    for width in (60, 160):
        for line in EntryRenderer(p).entry(entry, width):
            for segment in line:
                if not segment.text.strip() or segment.style is None:
                    continue
                style = segment.style
                text = hexadecimal(style.color, p.foreground)
                ground = hexadecimal(style.bgcolor, p.background)
                if style.reverse:
                    text, ground = ground, text
                least = DIM if text == p.muted or style.dim or style.strike else TEXT
                ratio = contrast(text, ground)
                assert ratio >= least, (segment.text, text, ground, round(ratio, 2))


@pytest.mark.parametrize("theme", OWN)
def test_highlighted_code_is_readable_on_every_background(theme):
    p = PALETTES[theme]
    style = Syntax("", "python", theme=p.code)._theme
    from pygments.token import STANDARD_TYPES

    skipped = {"Error", "Generic", "Whitespace"}
    for token in STANDARD_TYPES:
        if skipped & {str(part) for part in token}:
            continue
        drawn = style.get_style_for_token(token)
        text = hexadecimal(drawn.color, p.foreground)
        comment = "Comment" in [str(part) for part in token]
        for ground in (p.panel, p.background, p.added_bg, p.removed_bg):
            ratio = contrast(text, ground)
            assert ratio >= (DIM if comment else TEXT), (token, text, ground, round(ratio, 2))


@pytest.mark.parametrize("theme", ANSI)
async def test_an_ansi_theme_uses_only_the_terminals_own_colours(theme):
    app = SceneApp(theme)
    async with app.run_test(size=(140, 40)) as pilot:
        app.prepare()
        app.happen(Reply(text=ANSWER))
        await settled(app, SCENES["asks_edit"])(pilot)
        strips = app.screen._compositor.render_strips()
        styles = {segment.style for strip in strips for segment in strip if segment.style}
        assert any(style.color and not style.color.is_default for style in styles)
        for colour in colours(styles):
            assert colour.is_default or colour.type.name == "STANDARD", colour


def colours(styles: set[Style]) -> list[Color]:
    return [c for style in styles for c in (style.color, style.bgcolor) if c is not None]


@pytest.mark.parametrize("theme", OWN)
def test_in_sixteen_colours_states_still_differ(theme):
    """A terminal with fewer colours rounds those of the theme."""
    p = PALETTES[theme]
    names = ["foreground", "success", "error", "background"]
    rounded = [Color.parse(getattr(p, n)).downgrade(ColorSystem.STANDARD).number for n in names]
    assert len(set(rounded)) == len(names), dict(zip(names, rounded, strict=True))


@pytest.mark.parametrize(
    ("wanted", "system", "theme"),
    [
        (None, "truecolor", "laguna"),
        (None, "256", "laguna"),
        (None, "standard", "terminal"),
        (None, None, "terminal"),
        ("laguna-light", "standard", "laguna-light"),
        ("gone", "truecolor", "laguna"),
    ],
)
def test_the_initial_theme_is_the_saved_one_or_one_the_terminal_can_show(wanted, system, theme):
    assert initial_theme(wanted, system) == theme


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
        "asks_command": ["Allow this command", "y once", "n no"],
        "running": ["● pytest -x", "before the next step:", "after this turn:"],
        "sessions": ["enter chooses", "Resume a conversation"],
    }
    for text in wanted[scene]:
        assert text in shown
