"""The one way of a subcommand's text to the terminal: control characters are shown, not obeyed.

Records, memories, file names and what a model wrote may hold escape sequences that rewrite the
screen or the clipboard. A subcommand writes to `sys.stdout` and `sys.stderr` as it likes; while it
runs, both show such characters as `\\x1b`, as the transcript does.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from laguna_agent.policy.sanitize import visible

_OWN = re.compile(r"\r\x1b\[K|\r( *\r)?")
"""How laguna's own progress lines begin: they replace what is on the line."""


class _VisibleText(io.TextIOBase):
    """A stream that writes to another one and shows control characters."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        own = _OWN.match(text) if self._stream.isatty() else None
        kept = own.group() if own else ""
        # JSON leaves DEL as it is, and this is how JSON spells it.
        shown = text[len(kept) :].replace("\r\n", "\n").replace("\x7f", "\\u007f")
        self._stream.write(kept + visible(shown))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute there
        return self._stream.encoding


@contextmanager
def visible_output() -> Iterator[None]:
    """Show control characters in all that is written to standard output and error."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast("TextIO", _VisibleText(out)), cast("TextIO", _VisibleText(err))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
