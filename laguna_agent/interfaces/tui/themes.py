"""Five themes, and the palettes that text is drawn with."""

from __future__ import annotations

from dataclasses import dataclass

from textual.theme import Theme

DEFAULT, DEFAULT_ANSI = "laguna", "terminal"
"""The default themes, for terminals with more than sixteen colours and for the others."""
_ON_LIGHT = {DEFAULT: "laguna-light", DEFAULT_ANSI: "terminal-light"}


@dataclass(frozen=True)
class Palette:
    """Colours in Rich's notation. `code` is a Pygments style; `*_bg` may be `default`.

    A terminal with 256 colours rounds a component below 48 to 0, and one above 235 to 255: the
    backgrounds of diffs then are black or white, on which all text is as readable.
    """

    foreground: str
    background: str
    muted: str
    accent: str
    user: str
    success: str
    warning: str
    error: str
    panel: str
    added_bg: str
    removed_bg: str
    code: str
    ansi: bool = False


_DARK = Palette(
    foreground="#d6dde5", background="#0f1419", muted="#8793a0", accent="#4fd1c5",
    user="#8cc8ff", success="#7ecb7e", warning="#e3b341", error="#ff7b72", panel="#1a222b",
    added_bg="#122d1f", removed_bg="#2e181d", code="github-dark",
)  # fmt: skip
_LIGHT = Palette(
    foreground="#22272e", background="#fbfaf7", muted="#58626d", accent="#0f766e",
    user="#1d4f91", success="#1f6b26", warning="#855600", error="#b42318", panel="#f4f2ec",
    added_bg="#ecf9ee", removed_bg="#fff0ee", code="xcode",
)  # fmt: skip
_CONTRAST = Palette(
    foreground="#ffffff", background="#000000", muted="#d0d0d0", accent="#00ffff",
    user="#ffff66", success="#5dff5d", warning="#ffd700", error="#ff8080", panel="#1c1c1c",
    added_bg="#002d00", removed_bg="#2e0000", code="github-dark",
)  # fmt: skip
# Of the sixteen colours, only those that the palettes of common terminals keep apart from a dark,
# or a light, background. Bright black is not among them: Solarized uses it as background.
_ANSI_DARK = Palette(
    foreground="default", background="default", muted="default", accent="cyan",
    user="bright_cyan", success="green", warning="bright_yellow", error="bright_red",
    panel="default", added_bg="default", removed_bg="default", code="ansi_dark", ansi=True,
)  # fmt: skip
_ANSI_LIGHT = Palette(
    foreground="default", background="default", muted="default", accent="blue",
    user="magenta", success="blue", warning="magenta", error="red", panel="default",
    added_bg="default", removed_bg="default", code="ansi_light", ansi=True,
)  # fmt: skip

PALETTES: dict[str, Palette] = {
    "laguna": _DARK,
    "laguna-light": _LIGHT,
    "high-contrast": _CONTRAST,
    "terminal": _ANSI_DARK,
    "terminal-light": _ANSI_LIGHT,
}
ABOUT: dict[str, str] = {
    "laguna": "dark",
    "laguna-light": "light",
    "high-contrast": "white on black, strong colours",
    "terminal": "your terminal's own sixteen colours, on dark",
    "terminal-light": "your terminal's own sixteen colours, on light",
}


def themes() -> list[Theme]:
    """The themes for the app to register."""
    return [_theme(name, palette) for name, palette in PALETTES.items()]


def initial_theme(wanted: str | None, color_system: str | None, *, light: bool = False) -> str:
    """The theme to start with: the `wanted` one, or one that the terminal can show.

    `light` tells whether the terminal's background is. With sixteen colours, a theme of others
    would be rounded to what may not be readable.
    """
    few = color_system in (None, "standard")
    if wanted in PALETTES:
        if not few or PALETTES[wanted].ansi:
            return wanted
        light = wanted in _ON_LIGHT.values()
    theme = DEFAULT_ANSI if few else DEFAULT
    return _ON_LIGHT[theme] if light else theme


def _theme(name: str, palette: Palette) -> Theme:
    def colour(value: str) -> str:
        return f"ansi_{value}" if palette.ansi else value

    dark = name not in _ON_LIGHT.values()
    on_accent = palette.background
    if palette.ansi:
        on_accent = "black" if dark else "bright_white"
    panel = colour(palette.panel)
    variables = {
        # Textual's own styles of ansi themes refer to these.
        "ansi-background": colour(palette.background),
        "ansi-foreground": colour(palette.foreground),
        "muted": colour(palette.muted),
        "user": colour(palette.user),
        "border": colour(palette.muted),
        "border-blurred": colour(palette.muted),
        "input-cursor-text-style": "reverse",
        "block-cursor-foreground": colour(on_accent),
        "block-cursor-background": colour(palette.accent),
        "block-cursor-text-style": "bold",
        "input-selection-background": (
            colour(palette.background) if palette.ansi else f"{palette.accent} 35%"
        ),
        "scrollbar": colour(palette.muted),
        "scrollbar-hover": colour(palette.accent),
        "scrollbar-active": colour(palette.accent),
        "scrollbar-background": colour(palette.background),
        "scrollbar-background-hover": colour(palette.background),
        "scrollbar-background-active": colour(palette.background),
        "scrollbar-corner-color": colour(palette.background),
    }
    return Theme(
        name=name,
        primary=colour(palette.accent),
        secondary=colour(palette.user),
        accent=colour(palette.accent),
        success=colour(palette.success),
        warning=colour(palette.warning),
        error=colour(palette.error),
        foreground=colour(palette.foreground),
        background=colour(palette.background),
        surface=panel,
        panel=panel,
        boost=panel,
        dark=dark,
        ansi=palette.ansi,
        variables=variables,
    )
