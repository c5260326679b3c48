"""Text from anywhere, made safe to show: what would steer a terminal is written out instead.

Nothing is dropped, so that what a person approves is what runs. Markup (`[red]`) is left as it
is: interfaces show text as text.
"""

from __future__ import annotations

import re

_PICTURES = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 (but tab and newline), delete, C1
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, separators, bidi controls
    "\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff"  # lone surrogates: bytes that were not text
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"  # tags and supplementary variation selectors
    "]"
)


def _written(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code <= 0xFF:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # a byte that the decoder could not read
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def visible(text: str, *, single_line: bool = False) -> str:
    """`text` with escapes, bidi overrides and invisible characters written as `\\x1b`, `\\u202e`.

    Tabs and newlines stay, unless `single_line`, which writes them out too (for file names).
    """
    shown = _PICTURES.sub(_written, text)
    if single_line:
        shown = shown.replace("\n", "\\n").replace("\t", "\\t")
    return shown


def is_plain(text: str) -> bool:
    """Whether `visible` would leave `text` as it is."""
    return _PICTURES.search(text) is None
