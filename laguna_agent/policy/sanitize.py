"""Makes untrusted text safe to show: characters that control a terminal are escaped.

Nothing is dropped, so what the user approves is what runs. Markup (`[red]`) is left as it is:
interfaces show it as text.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(
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


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code <= 0xFF:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # an undecodable byte
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def visible(text: str, *, single_line: bool = False) -> str:
    """`text` with control, bidi and invisible characters shown as `\\x1b`, `\\u202e`.

    Tabs and newlines are kept unless `single_line`, which escapes them too (for file names).
    """
    shown = _UNSAFE.sub(_escape, text)
    if single_line:
        shown = shown.replace("\n", "\\n").replace("\t", "\\t")
    return shown


def is_plain(text: str) -> bool:
    """Whether `visible` leaves `text` unchanged."""
    return _UNSAFE.search(text) is None
