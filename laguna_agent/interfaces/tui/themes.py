"""Five themes, and the palettes that text is drawn with."""

from __future__ import annotations

from dataclasses import dataclass

from textual.theme import Theme

DEFAULT, DEFAULT_ANSI = "laguna", "terminal"
"""The default themes, for terminals with more than sixteen colours and for the others."""


@dataclass(frozen=True)
class Palette:
    """Colours in Rich's notation. `code` is a Pygments style; `*_bg` may be `default`."""

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
    added_bg="#12301f", removed_bg="#3b1a1e", code="github-dark",
)  # fmt: skip
_LIGHT = Palette(
    foreground="#22272e", background="#fbfaf7", muted="#5f6975", accent="#0f766e",
    user="#1d4f91", success="#23732a", warning="#855600", error="#b42318", panel="#f4f2ec",
    added_bg="#e2f7e5", removed_bg="#fff0ee", code="xcode",
)  # fmt: skip
_CONTRAST = Palette(
    foreground="#ffffff", background="#000000", muted="#d0d0d0", accent="#00ffff",
    user="#ffff66", success="#5dff5d", warning="#ffd700", error="#ff8080", panel="#1c1c1c",
    added_bg="#003d00", removed_bg="#5c0000", code="github-dark",
)  # fmt: skip
_ANSI_DARK = Palette(
    foreground="default", background="default", muted="bright_black", accent="cyan",
    user="bright_blue", success="green", warning="yellow", error="red", panel="default",
    added_bg="default", removed_bg="default", code="ansi_dark", ansi=True,
)  # fmt: skip
_ANSI_LIGHT = Palette(
    foreground="default", background="default", muted="bright_black", accent="blue",
    user="magenta", success="green", warning="red", error="red", panel="default",
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


def initial_theme(wanted: str | None, color_system: str | None) -> str:
    """The theme to start with: the `wanted` one, or one that the terminal can show."""
    if wanted in PALETTES:
        return str(wanted)
    return DEFAULT_ANSI if color_system in (None, "standard") else DEFAULT


def _theme(name: str, palette: Palette) -> Theme:
    def colour(value: str) -> str:
        return f"ansi_{value}" if palette.ansi else value

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
        "block-cursor-foreground": colour("black") if palette.ansi else palette.background,
        "block-cursor-background": colour(palette.accent),
        "block-cursor-text-style": "bold",
        "input-selection-background": colour("blue") if palette.ansi else f"{palette.accent} 35%",
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
        dark=name not in ("laguna-light", "terminal-light"),
        ansi=palette.ansi,
        variables=variables,
    )
