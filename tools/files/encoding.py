"""Text files decoded so that encoding, byte order mark and line endings survive to the byte.

Encoding a decoded file again gives the same bytes, whatever they are. Matching and numbering work
on text with `\\n` as line ending; `Document.splice` applies changes to the original, so that only
the changed bytes differ.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from laguna_agent.tools.files.legacy_encodings import NAMES, legacy_encoding

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 1 << 16
_MAGIC = {
    b"\x89PNG": "PNG image",
    b"\xff\xd8\xff": "JPEG image",
    b"GIF8": "GIF image",
    b"%PDF": "PDF document",
    b"PK\x03\x04": "zip archive",
    b"\x1f\x8b": "gzip archive",
    b"\x7fELF": "ELF binary",
    b"SQLite format 3\0": "SQLite database",
    b"GGUF": "GGUF model",
}


class EncodingError(Exception):
    """New text that the file's encoding cannot represent; the message is for the model."""


class Splice(NamedTuple):
    """Replace `start:end` of the normalised text by `text`, whose line endings are `\\n`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Document:
    """A decoded file. `raw` keeps its own line endings; `text` has `\\n` only."""

    raw: str
    encoding: str = "utf-8"
    errors: str = "strict"
    bom: bytes = b""

    @cached_property
    def separator(self) -> str:
        """The most frequent line ending: `\\n`, `\\r\\n`, or `\\r` in files that have no other."""
        crlf = self.raw.count("\r\n")
        lf = self.raw.count("\n") - crlf
        if not lf and not crlf and "\r" in self.raw:
            return "\r"
        return "\r\n" if crlf > lf else "\n"

    @cached_property
    def text(self) -> str:
        """The text with every line ending as `\\n`."""
        if self.separator == "\r":
            return self.raw.replace("\r", "\n")
        return self.raw.replace("\r\n", "\n")

    @cached_property
    def _crlf_positions(self) -> list[int]:
        """Positions in `text` of the line endings that are two characters in `raw`."""
        return [m.start() - i for i, m in enumerate(re.finditer("\r\n", self.raw))]

    def _raw_offset(self, position: int) -> int:
        return position + bisect_left(self._crlf_positions, position)

    def _separator_at(self, position: int) -> str:
        """The line ending to write at a position: that of its line, else of the line before."""
        if self.separator == "\r":
            return "\r"
        newline = self.text.find("\n", position)
        if newline < 0:
            newline = self.text.rfind("\n", 0, position)
        if newline < 0:
            return self.separator
        index = bisect_left(self._crlf_positions, newline)
        crlf = index < len(self._crlf_positions) and self._crlf_positions[index] == newline
        return "\r\n" if crlf else "\n"

    def splice(self, splices: Sequence[Splice]) -> Document:
        """The document with the changes applied; everything else keeps its bytes."""
        pieces = []
        done = 0
        for start, end, text in sorted(splices):
            raw_start, raw_end = self._raw_offset(start), self._raw_offset(end)
            pieces.append(self.raw[done:raw_start])
            pieces.append(text.replace("\n", self._separator_at(start)))
            done = raw_end
        pieces.append(self.raw[done:])
        return Document("".join(pieces), self.encoding, self.errors, self.bom)

    def with_text(self, text: str) -> Document:
        """Other text with this file's encoding and line endings."""
        text = text.replace("\r\n", "\n")
        return Document(text.replace("\n", self.separator), self.encoding, self.errors, self.bom)

    def encode(self) -> bytes:
        """The bytes. Raises EncodingError naming the first character that cannot be encoded."""
        try:
            return self.bom + self.raw.encode(self.encoding, self.errors)
        except UnicodeEncodeError as error:
            character = self.raw[error.start]
            raise EncodingError(
                f"the file is {self.describe() or 'UTF-8'} and cannot represent {character!r}; "
                "use an escape or other characters"
            ) from None

    def describe(self) -> str:
        """Encoding and line endings in words, empty for plain UTF-8 with `\\n`."""
        parts = []
        if self.bom or self.encoding != "utf-8":
            name = NAMES.get(self.encoding, self.encoding.upper())
            parts.append(f"{name} with BOM" if self.bom == codecs.BOM_UTF8 else name)
        if self.errors != "strict":
            parts.append("some bytes are not UTF-8")
        if "\r\n" in self.raw:
            mixed = self.raw.count("\n") != self.raw.count("\r\n")
            parts.append("mixed line endings" if mixed else "CRLF")
        elif self.separator == "\r":
            parts.append("CR line endings")
        return ", ".join(parts)


def decode(data: bytes) -> Document | None:
    """The text of a file, or None if it is binary. Always `decode(data).encode() == data`."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            document = _try(data[len(bom) :], encoding, bom=bom)
            if document is not None:
                return document
    wide = _wide_encoding(data)
    if wide is not None:
        document = _try(data, wide)
        if document is not None:
            return document
    if is_binary(data):
        return None
    document = _try(data, "utf-8")
    if document is not None:
        return document
    if _mostly_utf8(data):
        return Document(data.decode("utf-8", "surrogateescape"), errors="surrogateescape")
    encoding = legacy_encoding(data)
    if encoding not in ("latin-1", "cp1252"):
        document = _try(data, encoding)
        if document is not None:
            return document
    if any(0x80 <= byte <= 0x9F for byte in data):
        document = _try(data, "cp1252")
        if document is not None:
            return document
    return Document(data.decode("latin-1"), "latin-1")


def _try(data: bytes, encoding: str, *, bom: bytes = b"") -> Document | None:
    try:
        text = data.decode(encoding)
        if text.encode(encoding) != data:
            return None
    except UnicodeError:
        return None
    return Document(text, encoding, bom=bom)


def _wide_encoding(data: bytes) -> str | None:
    """UTF-16 without a byte order mark: in mostly ASCII text, NULs are at odd or even offsets."""
    sample = data[:_SAMPLE]
    if len(sample) < 4 or len(data) % 2 or b"\0" not in sample:
        return None
    half = len(sample) // 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > half * 0.6 and even < half * 0.05:
        return "utf-16-le"
    if even > half * 0.6 and odd < half * 0.05:
        return "utf-16-be"
    return None


def _mostly_utf8(data: bytes) -> bool:
    text = data.decode("utf-8", "surrogateescape")
    bad = sum(1 for c in text if "\udc80" <= c <= "\udcff")
    good = sum(1 for c in text if c > "\x7f" and not "\udc80" <= c <= "\udcff")
    return good > bad


def is_binary(data: bytes) -> bool:
    """Whether the bytes are not text in any known encoding."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _wide_encoding(data):
        return False
    sample = data[:_SAMPLE]
    if b"\0" in sample or any(sample.startswith(magic) for magic in _MAGIC):
        return True
    controls = sum(1 for byte in sample if byte < 9 or (14 <= byte < 32 and byte != 27))
    return controls > len(sample) * 0.1


def binary_kind(data: bytes) -> str:
    """What kind of binary file the bytes are, in words."""
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), "binary file")


def printable(text: str) -> str:
    """Text that can be shown and stored: undecodable bytes become U+FFFD."""
    return text.encode("utf-8", "replace").decode("utf-8") if _has_surrogates(text) else text


_HIDDEN = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def printable_name(name: str) -> str:
    """A file name on one line, with control characters shown as escapes."""
    return printable(name).translate(_HIDDEN)


def _has_surrogates(text: str) -> bool:
    return re.search("[\ud800-\udfff]", text) is not None
