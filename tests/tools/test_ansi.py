"""Cleaning of output: what a terminal shows in the end, in bounded memory."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laguna_agent.tools.terminal.ansi import HeadAndTail, OutputCleaner, clean_line, clean_text


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("plain text", "plain text"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[38;2;1;2;3mtrue colour\x1b[m", "true colour"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;aGVsbG8=\x07copied", "copied"),
        ("\x1bPq#0;2;0;0;0\x1b\\sixel", "sixel"),
        ("\x1b(B\x1b=\x1b>ok", "ok"),
        ("10%\r50%\r100%", "100%"),
        ("10%\r50%\r100%\r", "100%"),
        ("line\r", "line"),
        ("\x1b[2K\r\x1b[1A\x1b[2Kdone", "done"),
        ("b\x08bo\x08ol\x08ld\x08d", "bold"),
        ("_\x08u_\x08n", "un"),
        ("\x08\x08x", "x"),
        ("a\x00b\x07c\x7fd", "abcd"),
        ("tab\tstays", "tab\tstays"),
        ("right\u202eleft", "right\\u202eleft"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("\u2028", "\\u2028"),
        ("\x9b31mC1", "C1"),
        ("héllo ünï 漢字 🙂", "héllo ünï 漢字 🙂"),
        ("\x1b", ""),
        ("\x1b[", ""),
    ],
)
def test_a_line_is_what_a_terminal_shows_in_the_end(raw: str, plain: str) -> None:
    assert clean_line(raw) == plain


def test_windows_line_endings_end_lines() -> None:
    assert clean_text("one\r\ntwo\r\n") == "one\ntwo\n"


@pytest.mark.slow
@given(st.text(), st.lists(st.integers(1, 7), min_size=1))
def test_chunks_give_the_same_text_as_the_whole(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8", "surrogatepass")
    whole = OutputCleaner()
    expected = whole.feed(data) + whole.finish()
    pieces = OutputCleaner()
    out, at, turn = "", 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        out += pieces.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert out + pieces.finish() == expected
    expected.encode("utf-8")


@given(st.binary(max_size=3000))
def test_any_bytes_become_text_without_control_characters(data: bytes) -> None:
    cleaner = OutputCleaner()
    text = cleaner.feed(data) + cleaner.finish()
    text.encode("utf-8")
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in text)


def test_an_endless_progress_bar_does_not_grow() -> None:
    cleaner = OutputCleaner()
    for number in range(20_000):
        assert cleaner.feed(b"\r%d of 20000 done" % number) == ""
    assert cleaner.waiting() == "19999 of 20000 done"


def test_an_endless_line_is_emitted_in_pieces() -> None:
    cleaner = OutputCleaner()
    out = "".join(cleaner.feed(b"x" * 10_000) for _ in range(100))
    assert out + cleaner.finish() == "x" * 1_000_000


@given(st.lists(st.text(alphabet="ab\n", max_size=30)), st.integers(10, 60))
def test_head_and_tail_are_exact_and_bounded(pieces: list[str], limit: int) -> None:
    kept = HeadAndTail(limit)
    for piece in pieces:
        kept.add(piece)
    text = "".join(pieces)
    result = kept.text()
    if "left out]" not in result and "more times]" not in result:
        assert result == text
    elif "more times]" not in result:
        head, _, rest = result.partition("[… ")
        tail = rest.partition("left out]\n")[2]
        assert text.startswith(head.removesuffix("\n"))
        assert text.endswith(tail)
    assert len(result) <= limit + 60


@pytest.mark.parametrize("chunk", [1, 10, 10_000])
def test_a_repeated_line_is_counted(chunk: int) -> None:
    kept = HeadAndTail(1000)
    kept.add("first\n")
    for _ in range(10_000 // chunk):
        kept.add("same\n" * chunk)
    kept.add("last\n")
    assert kept.text() == ("first\nsame\nsame\nsame\n[… the same line 9,997 more times]\nlast\n")


def test_a_few_repeated_lines_are_kept() -> None:
    kept = HeadAndTail(1000)
    kept.add("x\n" * 10 + "\n" * 10 + "end")
    assert kept.text() == "x\n" * 10 + "\n" * 10 + "end"


def test_memory_stays_bounded_for_any_output() -> None:
    chance = random.Random(3)
    kept, cleaner = HeadAndTail(12_000), OutputCleaner()
    blocks = [chance.randbytes(65_536) for _ in range(4)]

    def feed(rounds: int) -> None:
        for number in range(rounds):
            kept.add(cleaner.feed(blocks[number % 4]))

    feed(4)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    feed(16)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 400_000
