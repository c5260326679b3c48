"""Text that can be encoded as UTF-8, where names of files may not be: bytes that are not text are
lone surrogates in Python."""

from __future__ import annotations

import json
from typing import Any


def encodable(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, for what must be stored or sent as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON that can be encoded as UTF-8. Nothing is lost: where something cannot be
    encoded, all is written with escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text
