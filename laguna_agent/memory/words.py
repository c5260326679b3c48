"""Words and names in text, the units that search compares.

A name is a path or an identifier. It counts as a whole and by its parts, so that `http client`
finds `HTTPClient` and `src/http_client.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"[^\W_]+")
_NAME = re.compile(
    r"""
      (?<![\w.~-])(?:[\w.~-]+/)+[\w.-]*\w   # a path with slashes
    | (?<!\w)(?<!\w-)\w[\w-]*\.[A-Za-z][A-Za-z0-9]{0,4}\b   # a file name, or module.name
    | \b\w+(?:\.\w+)+\b                  # a dotted name
    | \b\w*[a-z0-9]_[A-Za-z0-9]\w*\b     # snake_case, UPPER_CASE
    | \b_*[A-Z]\w*_\w+\b
    | \b[a-z][a-z0-9]*[A-Z]\w*\b         # camelCase
    | \b[A-Z]+[a-z0-9]+[A-Z]\w*\b        # PascalCase
    | \b[A-Z]{2}[A-Z0-9]*[a-z]\w*\b       # HTTPClient
    """,
    re.VERBOSE,
)
"""Takes time linear in the text: no part looks again at what one before it has passed over."""
_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")

_STOP_TEXT = """
a about above after again all also an and any are as at be because been before being below
between both but by can could did do does doing down during each few for from further get had
has have having he her here him his how i if in into is it its itself just let like make me
more most my need no nor not now of off on once one only or other our out over own please same
she should so some such than that the their them then there these they this those through to
too under until up us use used using very want was we were what when where which while who why
will with would you your
"""
STOP_WORDS = frozenset(_STOP_TEXT.split())
"""English words that do not tell what a text is about."""


def words_in(text: str) -> Iterator[str]:
    """The words of a text in lower case, with the parts of names, without stop words."""
    for word in _WORD.findall(text):
        lowered = word.lower()
        if len(lowered) > 1 and lowered not in STOP_WORDS:
            yield lowered
        parts = _PARTS.findall(word)
        if len(parts) > 1:
            for part in parts:
                if len(part) > 1 and part.lower() not in STOP_WORDS:
                    yield part.lower()


def names_in(text: str) -> Iterator[str]:
    """Paths and identifiers in a text, as written."""
    return (match.group() for match in _NAME.finditer(text))


def split_name(name: str) -> list[str]:
    """The parts of a path or identifier in lower case: `HTTPClient.get` is http, client, get."""
    return [part.lower() for part in _PARTS.findall(name)]
