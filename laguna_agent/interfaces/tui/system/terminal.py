"""Handles terminals that differ from what Textual expects, and errors of the interface itself.

Terminals: an encoding without the symbols used here, input that is not valid text, a closed window.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import IO, Any, cast

from rich.cells import cell_len
from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.app import App
from textual.drivers import linux_driver
from textual.filter import Monochrome, NoColor
from textual.geometry import Size
from textual.message import Message
from textual.timer import Timer

from laguna_agent.errors import LagunaError
from laguna_agent.interfaces.tui.system.terminal_background import (
    EXIT_S,
    QUERY,
    AnswerFilter,
    AnswerParser,
    can_be_asked,
    is_light,
)
from laguna_agent.log import log_error, log_path
from laguna_agent.policy.sanitize import visible

SUBSTITUTES = {
    **dict.fromkeys("❯▸↳→›", ">"), **dict.fromkeys("─–—−⋯━", "-"), **dict.fromkeys("│▌▏▎▐", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼▲▼", "+"), "✓": "+", "✗": "x", "●": "*", "○": "o", "•": "*",
    "·": ".", "…": ".", "∴": ":", "▾": "v", "≈": "~", "↑": "^", "↓": "v", "←": "<",
    "‹": "<", "⚠": "!", **dict.fromkeys("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "*"),
    **dict.fromkeys("“”", '"'), **dict.fromkeys("‘’", "'"),
}  # fmt: skip
"""Symbols of the same width for those that an encoding lacks."""
_RESIZE_QUIET_S = 0.25
"""Seconds without another resize after which everything is drawn again."""
_ERRORS = "laguna-substitute"
_NOTIFYING = ("iTerm.app", "WezTerm", "ghostty", "WarpTerminal")
"""Terminals that show the text of OSC 9 as a notification."""
_LONG_S = 10.0
"""Seconds of work after which a user may look elsewhere, where the terminal does not tell."""


def is_terminal(file: IO[str] | None) -> bool:
    """Whether a standard stream is a terminal; False for a closed one."""
    try:
        return file is not None and file.isatty()
    except ValueError:
        return False


def substitute(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: replace characters that cannot be encoded by others as wide."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(SUBSTITUTES.get(one, "?" * cell_len(one)) for one in lost), error.end


codecs.register_error(_ERRORS, substitute)


class TerminalOutput:
    """The terminal as a file. Once it is closed, writes are ignored instead of failing."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors=_ERRORS)

    def write(self, text: str) -> None:
        """Write text."""
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)

    def flush(self) -> None:
        """Flush what was written."""
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()

    def fileno(self) -> int:
        """The terminal's file descriptor."""
        return self._file.fileno()


class TerminalDriver(linux_driver.LinuxDriver):
    """Textual's driver, writing to a `TerminalOutput`."""

    title = ""

    def __init__(self, app: App[Any], **settings: Any) -> None:
        super().__init__(app, **settings)
        if sys.__stdout__ is not None and not is_terminal(sys.__stderr__):
            self._file = sys.__stdout__  # standard error is redirected to a file
        self._file = cast("Any", TerminalOutput(cast("IO[str]", self._file)))
        self._answers = AnswerFilter(self._report_background)
        self._early: list[Message] | None = []
        self._early_lock = threading.Lock()

    def send_message(self, message: Message) -> None:
        """Give a message to the app; keys wait until it has something that takes them."""
        with self._early_lock:
            if self._early is not None and isinstance(message, events.Key | events.Paste):
                self._early.append(message)
                return
        super().send_message(message)

    def release_early_keys(self) -> None:
        """Give the app what was typed while it started."""
        with self._early_lock:
            early, self._early = self._early or [], None
        for message in early:
            super().send_message(message)

    def start_application_mode(self) -> None:
        """Take the terminal, and ask for its background where that chooses the theme."""
        # Textual makes the parser in a thread, by its name in the driver's module.
        linux_driver.__dict__["XTermParser"] = partial(AnswerParser, self._answers)
        cast("Any", super()).start_application_mode()
        self.write("\x1b[22;2t")  # keeps the title of the shell
        if self.title:
            self.show_title(self.title)
        if isinstance(self._app, TerminalApp) and self._app.follows_background and can_be_asked():
            self._answers.ask()
            self.write(QUERY)
            self.flush()

    def stop_application_mode(self) -> None:
        """Release the terminal. An answer on its way would be typed into the shell."""
        if self._answers.waits:
            self._answers.answered.wait(EXIT_S)
        self.write("\x1b]2;\x07\x1b[23;2t")
        super().stop_application_mode()

    def _report_background(self, answer: str) -> None:
        light = is_light(answer)
        if light is not None:
            self._app.call_later(cast("TerminalApp", self._app).background_found, light=light)

    def show_title(self, title: str) -> None:
        """Show a title on the terminal's window."""
        self.title = title
        self.write(f"\x1b]2;{title}\x07")

    def alert(self, text: str) -> None:
        """Notify the user: in words where the terminal can show them, else by its bell."""
        program, term = os.environ.get("TERM_PROGRAM", ""), os.environ.get("TERM", "")
        spoken = program in _NOTIFYING or term in ("xterm-kitty", "xterm-ghostty")
        self.write(f"\x1b]9;{text}\x07" if spoken and "TMUX" not in os.environ else "\a")


def lenient_decoder(name: str) -> Callable[[], codecs.IncrementalDecoder]:
    """A decoder of input in the terminal's encoding that replaces invalid bytes."""
    encoding = sys.__stdin__.encoding if sys.__stdin__ is not None else name
    found = codecs.lookup(encoding or name)
    decoder = codecs.getincrementaldecoder(name if found.name == "ascii" else found.name)
    return lambda: decoder(errors="replace")


# Textual decodes strictly as UTF-8, so that one invalid byte would end the interface.
linux_driver.__dict__["getincrementaldecoder"] = lenient_decoder


class ExtraKey(Enum):
    """Keys of terminals without Kitty's protocol that Textual takes for others."""

    ALT_ENTER = "alt+enter"
    SHIFT_ENTER = "shift+enter"


cast("dict[str, Any]", ANSI_SEQUENCES_KEYS).update({
    "\x1b\r": (ExtraKey.ALT_ENTER,),
    "\x1b\n": (ExtraKey.ALT_ENTER,),
    "\x1b[27;3;13~": (ExtraKey.ALT_ENTER,),
    "\x1b[27;2;13~": (ExtraKey.SHIFT_ENTER,),
})  # fmt: skip


class TerminalApp(App[int]):
    """An app that ends with a two-line message when it fails; the traceback is logged."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Textual would show greys, and bold, reverse and underlined text is enough to tell apart.
        self._filters = [NoColor() if isinstance(one, Monochrome) else one for one in self._filters]

    @property
    def follows_background(self) -> bool:
        """Whether the terminal's background chooses the theme."""
        return False

    def background_found(self, *, light: bool) -> None:
        """The terminal told whether its background is light."""

    _focus_is_known = False
    """Whether the terminal tells when it gets and loses the focus."""

    def on_app_focus(self) -> None:
        self._focus_is_known = True

    def on_app_blur(self) -> None:
        self._focus_is_known = True

    def take_early_keys(self) -> None:
        """Take what was typed while the app started; call it once a widget has the focus."""
        if isinstance(self._driver, TerminalDriver):
            self._driver.release_early_keys()

    def show_title(self, title: str) -> None:
        """Show a title on the terminal's window; it has its own again when laguna exits."""
        if isinstance(self._driver, TerminalDriver) and title != self._driver.title:
            self._driver.show_title(visible(title, single_line=True))

    def alert(self, text: str, *, after_s: float = _LONG_S) -> None:
        """Notify a user who looks elsewhere; without knowing, one who has waited for long."""
        looks = self.app_focus if self._focus_is_known else after_s < _LONG_S
        if not looks and isinstance(self._driver, TerminalDriver):
            self._driver.alert(visible(text, single_line=True))

    fatal: LagunaError | None = None
    """The error to report after the interface has ended."""
    _redraw_timer: Timer | None = None  # textual has a `_resize_timer` of its own

    def save_draft(self) -> None:
        """Save the typed text; called before the app ends with an error."""

    def exit_on_signals(self) -> None:
        """Exit normally on SIGTERM and SIGHUP, which restores the terminal and saves the draft."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(number, self.exit, 128 + number)

    def redraw_after_resizes(self) -> None:
        """Draw everything again once resizes have stopped; call at each resize.

        During many resizes a widget may have drawn itself for an earlier size.
        """
        if self._redraw_timer is not None:
            self._redraw_timer.stop()
        self._redraw_timer = self.set_timer(_RESIZE_QUIET_S, self._redraw_at_current_size)

    def _redraw_at_current_size(self) -> None:
        self._redraw_timer = None
        if not self.screen_stack:  # the app is exiting
            return
        with contextlib.suppress(OSError, ValueError):
            size = Size(*os.get_terminal_size(0))
            if size != self.size and not self.is_headless:
                self.post_message(events.Resize(size, size))
        self.screen.refresh(layout=True)

    def use_mouse(self, *, owned: bool) -> None:
        """Handle the mouse, or leave it to the terminal's own selection."""
        driver = self._driver
        if not isinstance(driver, TerminalDriver):
            return
        driver._mouse = True  # otherwise the switch does nothing
        if owned:
            driver._enable_mouse_support()
        else:
            driver._disable_mouse_support()
        driver._mouse = owned  # for when the terminal is taken again after a suspend

    def suspend_to_shell(self) -> bool:
        """Stop the process, for the shell that started it; False where none can resume it."""
        driver = self._driver
        # The session's first process group is that of the shell, unless there is none.
        if driver is None or not driver.can_suspend or os.getpgrp() == os.getsid(0):
            return False
        self._suspend_signal()
        os.killpg(0, signal.SIGTSTP)  # also programs that wait for this one
        return True

    def _handle_exception(self, error: Exception) -> None:
        if self.is_headless:  # in a test, which should fail
            super()._handle_exception(error)
            return
        self._end_with(error)

    def panic(self, *renderables: Any) -> None:
        """Textual's input thread ended with an exception."""
        if self.is_headless:
            super().panic(*renderables)
            return
        self._end_with(sys.exception() or LagunaError("cannot read from the terminal any more"))

    def _end_with(self, error: BaseException) -> None:
        self._return_code = 1
        if self.fatal is None:
            log_error("the interface failed", error)
            what = f"the interface failed: {type(error).__name__}: {error}"
            hint = f"What you typed is saved. Details: {log_path()}"
            self.fatal = LagunaError(what.replace("\n", " ")[:300], hint=hint)
        with contextlib.suppress(Exception):
            self.save_draft()
        self._close_messages_no_wait()
