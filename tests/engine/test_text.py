"""Streamed text: whole characters, and never the beginning of a stop string."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from laguna_agent.models.engine.token_text import TextStream

TEXT = st.text(alphabet="ab</>é🦙\n", max_size=40)
STOPS = st.lists(st.text(alphabet="ab</>é", min_size=1, max_size=6), max_size=3)


def cut(data: bytes, seed: int) -> list[bytes]:
    generator = random.Random(seed)
    pieces = []
    while data:
        size = generator.randrange(1, 5)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


@given(TEXT, STOPS, st.integers(0, 100))
def test_any_cut_gives_the_text_before_the_first_stop(
    text: str, stops: list[str], seed: int
) -> None:
    stream = TextStream(stops)
    shown = ""
    for piece in cut(text.encode(), seed):
        shown += stream.feed(piece)
        assert not any(stop in shown for stop in stops)
        if stream.stopped is not None:
            break
    shown += stream.finish()
    places = [text.index(stop) for stop in stops if stop in text]
    expected = text[: min(places)] if places else text
    if stream.stopped is None:
        assert not places
        assert shown == text
    else:
        # Of overlapping stop strings, the one whose last byte comes first ends the text.
        assert text.startswith(shown)
        assert text[len(shown) :].startswith(stream.stopped)
        assert len(shown) >= len(expected)
        assert stream.shown == len(shown.encode())


def test_invalid_bytes_are_replaced_at_the_end() -> None:
    stream = TextStream()
    assert stream.feed(b"a\xf0\x9f") == "a"
    assert not stream.clean
    assert stream.finish() == "\ufffd"


def test_what_only_looked_like_a_stop_is_shown_late_but_whole() -> None:
    stream = TextStream(["</assistant>"])
    assert stream.feed(b"x </assis") == "x "
    assert stream.feed(b"t") == ""
    assert stream.feed(b"!") == "</assist!"
    assert stream.finish() == ""
