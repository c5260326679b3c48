"""Decoding any bytes and encoding them again gives the same bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laguna_agent.tools.files.encoding import Document, Splice, decode

LINES = st.lists(
    st.tuples(st.text("ab é→\u2028\x0c\t", max_size=6), st.sampled_from(["\n", "\r\n", "\r", ""])),
    max_size=12,
)


@given(st.binary(max_size=300))
def test_any_bytes_survive(data: bytes) -> None:
    document = decode(data)
    if document is not None:
        assert document.encode() == data
        assert "\r\n" not in document.text


@pytest.mark.slow
@given(
    st.text(max_size=100), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
)
def test_any_text_survives_in_its_encoding(text: str, encoding: str) -> None:
    data = text.encode(encoding, "ignore")
    document = decode(data)
    if document is not None:
        assert document.encode() == data


@given(LINES, st.data())
def test_a_splice_changes_nothing_else(lines: list[tuple[str, str]], data: st.DataObject) -> None:
    document = Document("".join(text + end for text, end in lines))
    start = data.draw(st.integers(0, len(document.text)))
    end = data.draw(st.integers(start, len(document.text)))
    new = data.draw(st.text("xy\n", max_size=5))
    result = document.splice([Splice(start, end, new)])
    assert result.text.replace("\r", "\n").startswith(document.text[:start].replace("\r", "\n"))
    kept_head = document.splice([Splice(start, len(document.text), "")]).raw
    kept_tail = document.splice([Splice(0, end, "")]).raw
    assert result.raw.startswith(kept_head)
    assert result.raw.endswith(kept_tail)
    assert len(result.raw) >= len(kept_head) + len(kept_tail)
