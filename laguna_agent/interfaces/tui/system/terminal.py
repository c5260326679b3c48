"""The terminal itself, where it is not as Textual expects: an encoding without our signs, bytes
that are no text, a window that was closed; and how a fault of the interface ends.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from enum import Enum
from typing import IO, Any, cast

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.app import App
from textual.color import Color
from textual.drivers import linux_driver
from textual.filter import LineFilter, Monochrome, NoColor
from textual.geometry import Size
from textual.timer import Timer

from laguna_agent.errors import LagunaError

SIGNS = {
    **dict.fromkeys("❯▸↳→", ">"), **dict.fromkeys("─–—⋯━", "-"), **dict.fromkeys("│▌▏▎▐", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼▲▼", "+"), "✓": "+", "✗": "x", "●": "*", "○": "o", "•": "*",
    "·": ".", "…": ".", "∴": ":", "▾": "v", "≈": "~", "↑": "^", "↓": "v",
    **dict.fromkeys("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "*"), **dict.fromkeys("“”", '"'), **dict.fromkeys("‘’", "'"),
}  # fmt: skip
"""What stands for a sign where it cannot be written. As wide, so that nothing moves."""
_STORM_S = 0.25
"""Seconds without another size after which a storm of them is over."""
_LIKE = "laguna-like"


def is_terminal(file: IO[str] | None) -> bool:
    """Whether a standard stream is a terminal; one that was closed is none."""
    try:
        return file is not None and file.isatty()
    except ValueError:
        return False


def alike(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: something of the same width for what cannot be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(SIGNS.get(sign, "?" * cell_len(sign)) for sign in lost), error.end


codecs.register_error(_LIKE, alike)


class Screen:
    """The terminal as a file. Once it is gone, what is written to it is lost and nothing fails."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        reconfigure: Callable[..., None] | None = getattr(file, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_LIKE)

    def write(self, text: str) -> None:
        """Write to the terminal."""
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)

    def flush(self) -> None:
        """Let what was written be seen."""
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()

    def fileno(self) -> int:
        """The number of the terminal's file."""
        return self._file.fileno()


class TerminalDriver(linux_driver.LinuxDriver):
    """Textual's driver on such a screen."""

    def __init__(self, app: App[Any], **settings: Any) -> None:
        super().__init__(app, **settings)
        if sys.__stdout__ is not None and not is_terminal(sys.__stderr__):
            self._file = sys.__stdout__  # what is said on standard error goes elsewhere
        self._file = cast("Any", Screen(cast("IO[str]", self._file)))


def tolerant(name: str) -> Callable[[], codecs.IncrementalDecoder]:
    """The decoder of what is typed: in the terminal's encoding, and no byte is an error."""
    known = getattr(sys.__stdin__, "encoding", None) or name
    found = codecs.lookup(known)
    made = codecs.getincrementaldecoder(name if found.name == "ascii" else found.name)
    return lambda: made(errors="replace")


# Textual decodes strictly as UTF-8, and one stray byte would end the interface.
linux_driver.__dict__["getincrementaldecoder"] = tolerant


class MoreKeys(Enum):
    """Keys that terminals without Kitty's protocol send, and that Textual takes for others."""

    ALT_ENTER = "alt+enter"
    SHIFT_ENTER = "shift+enter"


cast("dict[str, Any]", ANSI_SEQUENCES_KEYS).update({
    "\x1b\r": (MoreKeys.ALT_ENTER,),
    "\x1b\n": (MoreKeys.ALT_ENTER,),
    "\x1b[27;3;13~": (MoreKeys.ALT_ENTER,),
    "\x1b[27;2;13~": (MoreKeys.SHIFT_ENTER,),
})  # fmt: skip


class Colourless(LineFilter):
    """What NO_COLOR asks for: greys, or in a theme of the terminal's own colours none at all, as
    nobody knows which greys these would be."""

    def __init__(self, app: App[Any]) -> None:
        super().__init__()
        self._app, self._greys, self._none = app, Monochrome(), NoColor()

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        chosen = self._none if self._app.native_ansi_color else self._greys
        return chosen.apply(segments, background)


class TerminalApp(App[int]):
    """An app that ends with two lines when it fails, its traceback kept in a file."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Textual chooses by the theme that there is before ours.
        self._filters = [
            Colourless(self) if isinstance(known, Monochrome | NoColor) else known
            for known in self._filters
        ]

    fatal: LagunaError | None = None
    """What to tell the person after the interface has ended."""
    _settling: Timer | None = None

    def save_draft(self) -> None:
        """Keep what is typed."""

    def end_on_signals(self) -> None:
        """Leave as always when told to end, which restores the terminal and keeps the draft."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(number, self.exit, 128 + number)

    def settle_size(self) -> None:
        """Called at each change of size: once they have ended, all is drawn again, at the size
        that the terminal then has. In a storm of sizes what a part drew may be for another one."""
        if self._settling is not None:
            self._settling.stop()
        self._settling = self.set_timer(_STORM_S, self._settled)

    def _settled(self) -> None:
        self._settling = None
        if not self.screen_stack:  # it is being left
            return
        with contextlib.suppress(OSError, ValueError):
            now = Size(*os.get_terminal_size(0))
            if now != self.size and not self.is_headless:
                self.post_message(events.Resize(now, now))
        self.screen.refresh(layout=True)

    def _handle_exception(self, error: Exception) -> None:
        if self.is_headless:  # under test: the test fails with it
            super()._handle_exception(error)
            return
        self._failed(error)

    def panic(self, *renderables: Any) -> None:
        """The input's thread has ended with an exception."""
        if self.is_headless:
            super().panic(*renderables)
            return
        self._failed(sys.exception() or LagunaError("the terminal cannot be read any more"))

    def _failed(self, error: BaseException) -> None:
        from laguna_agent.interfaces.tui.system.preferences import write_text
        from laguna_agent.paths import state_dir

        self._return_code = 1
        if self.fatal is None:
            path = state_dir() / "crash.log"
            write_text(path, "".join(traceback.format_exception(error)))
            what = f"the interface failed: {type(error).__name__}: {error}"
            hint = f"What you typed is kept. The details are in {path}"
            self.fatal = LagunaError(what.replace("\n", " ")[:300], hint=hint)
        with contextlib.suppress(Exception):
            self.save_draft()
        self._close_messages_no_wait()
