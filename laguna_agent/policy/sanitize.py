"""Makes untrusted text safe to show: characters that control a terminal are escaped.

Nothing is dropped, so what the user approves is what runs. Markup (`[red]`) is left as it is:
interfaces show it as text.

An invisible character stays where a script or an emoji is written with it: a joiner between the
parts of an emoji, a joiner or non-joiner inside a word of Arabic or an Indic script, a variation
selector after a symbol, the three flags that are spelt with tags. Anywhere else it is escaped.
"""

from __future__ import annotations

import re
import unicodedata

_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 (but tab and newline), delete, C1
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, separators, bidi controls
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff"  # lone surrogates: bytes that were not text
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"  # tags and supplementary variation selectors
    "]"
)
_NON_JOINER, _JOINER, _EMOJI_SELECTOR = "\u200c", "\u200d", "\ufe0f"
_PICTOGRAPH = re.compile("[\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]")
_CURSIVE = re.compile(
    "[\u0620-\u06ff\u0710-\u077f\u07ca-\u07f5\u0840-\u085b\u0860-\u08ff\u1820-\u18aa"
    "\ufb50-\ufdff\ufe70-\ufefc]"
)
"""Scripts whose letters join: Arabic, Syriac, N'Ko, Mandaic, Mongolian."""
_VIRAMA = 9
"""Combining class of the sign that joins two consonants of an Indic script."""
_BEFORE_SELECTOR = re.compile(r"[0-9#*]|[^\x00-\x7f\s\ufe00-\ufe0f]")
_FLAG = re.compile(
    "\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074"
    "|\U000e0077\U000e006c\U000e0073)\U000e007f"
)
"""The flags of England, Scotland and Wales: no other emoji in use is spelt with tags."""


def _escape(match: re.Match[str]) -> str:
    if _belongs(match.string, match.start()):
        return match.group()
    code = ord(match.group())
    if code <= 0xFF:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # an undecodable byte
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _belongs(text: str, at: int) -> bool:
    """Whether the invisible character at a position is part of how its neighbours are written."""
    character = text[at]
    before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if "\ufe00" <= character <= "\ufe0f":
        return _BEFORE_SELECTOR.match(before) is not None
    if character in (_JOINER, _NON_JOINER):
        if before and unicodedata.combining(before) == _VIRAMA:
            return True
        if _CURSIVE.match(before) and _CURSIVE.match(after):
            return True
        if before == _EMOJI_SELECTOR and at > 1:
            before = text[at - 2]
        emoji = _PICTOGRAPH.match(before) and _PICTOGRAPH.match(after)
        return character == _JOINER and emoji is not None
    if "\U000e0061" <= character <= "\U000e007f":
        start = text.rfind("\U0001f3f4", max(0, at - 6), at)
        flag = _FLAG.match(text, start) if start >= 0 else None
        return flag is not None and at < flag.end()
    return False


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
    return all(_belongs(text, match.start()) for match in _UNSAFE.finditer(text))
