"""The document about the configuration."""

from __future__ import annotations

from support.configuration import DOCUMENT, document


def test_the_document_is_made_from_the_models_as_they_are():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == document(), "`make configuration` makes it anew"
