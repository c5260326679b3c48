"""Copies text to the clipboard: by the system's program if there is one, and by OSC 52."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING, Any

from laguna_agent.interfaces.tui.screens.pickers import code_picker
from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.themes import PALETTES
from laguna_agent.interfaces.tui.transcript.markdown import CodeBlock, code_blocks
from laguna_agent.programs import find_program

if TYPE_CHECKING:
    from textual.app import App

    from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
    from laguna_agent.interfaces.tui.widgets.status_line import StatusLine

_PROGRAMS = (
    ("WAYLAND_DISPLAY", ["wl-copy"]),
    ("DISPLAY", ["xclip", "-selection", "clipboard"]),
    ("DISPLAY", ["xsel", "--clipboard", "--input"]),
    ("", ["pbcopy"]),
    ("WSL_DISTRO_NAME", ["clip.exe"]),
)
"""Programs, and the variable that is set where they work."""


class Clipboard:
    """Copies text and entries of the transcript."""

    def __init__(self, app: App[Any], status: StatusLine) -> None:
        self._app = app
        self._status = status
        self._next_block = 0

    def copy(self, text: str) -> None:
        """Copy a text and confirm it in the status line."""
        self._app.copy_to_clipboard(text)
        in_background(self._app, "copy", asyncio.to_thread, copy_with_program, text)
        lines = text.removesuffix("\n").count("\n") + 1
        self._status.flash(f"copied {lines} lines" if lines > 1 else "copied")

    def copy_code(self, entry: Entry) -> None:
        """Copy the next code block of an answer, or an entry's diff or output."""
        if entry.kind == "answer":
            blocks = [block.code for block in code_blocks(entry.body)]
        else:
            blocks = [entry.diff or entry.body]
        if not blocks:
            self._status.flash("no code in this message")
            return
        self.copy(blocks[self._next_block % len(blocks)])
        self._next_block += 1

    def choose_code(self, answer: str) -> None:
        """Copy the code block of an answer; the user picks one of several."""
        blocks = code_blocks(answer)
        if len(blocks) > 1:
            picker = code_picker(blocks, PALETTES[self._app.theme])
            self._app.push_screen(picker, lambda number: self._copy_block(blocks, number))
        elif blocks:
            self.copy(blocks[0].code)
        else:
            self._status.flash("the last answer has no code")

    def _copy_block(self, blocks: list[CodeBlock], number: str | None) -> None:
        if number is not None:
            self.copy(blocks[int(number)].code)


def copy_with_program(text: str) -> bool:
    """Copy by the system's clipboard program; False if none works here."""
    if os.environ.get("SSH_CONNECTION"):
        return False  # it would be the clipboard of the remote machine
    for variable, (name, *arguments) in _PROGRAMS:
        if variable and not os.environ.get(variable):
            continue
        program = find_program(name)
        if program is None:
            continue
        try:
            subprocess.run(
                [program, *arguments], input=text.encode("utf-8", "surrogatepass"),
                check=True, timeout=2, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            continue
        return True
    return False
