"""The picture of the packages."""

from __future__ import annotations

from support.architecture import PICTURE, svg


def test_the_picture_is_drawn_from_the_imports_as_they_are():
    assert PICTURE.read_text(encoding="utf-8") == svg(), "`make architecture` draws it anew"
