"""The document about keys and commands."""

from __future__ import annotations

from support.key_reference import DOCUMENT, document


def test_the_document_is_made_from_the_reference_as_it_is():
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "`make keys` makes it anew"
