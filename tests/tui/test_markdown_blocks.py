"""Streaming Markdown: split into blocks that look like the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laguna_agent.interfaces.tui.themes import PALETTES
from laguna_agent.interfaces.tui.transcript.markdown import code_blocks
from laguna_agent.interfaces.tui.transcript.markdown_blocks import (
    LONGEST_PIECE,
    PIECE,
    Blocks,
    MarkdownBlock,
    blocks_of,
)
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from support.scenes import ANSWER

RENDERER = EntryRenderer(PALETTES["laguna"])
LOOSE_LIST = """\
Do this:

1. install it

   ```bash
   pip install shop

   shop --version
   ```

2. run it

   more about it

- a list

- that is loose
Then it works.

~~~text
``` no fence in here

~~~
After.
"""
LONG_CODE = (
    "```python\n" + "".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(90)) + "```\n"
)
TEXTS = {
    "answer": ANSWER,
    "list": LOOSE_LIST,
    "long code": LONG_CODE,
    "code at once": "```\na\n```\n```\nb\n```",
    "indented fence": "  ```py\n  a\n    b\n  ```\nend",
    "not closed": "text\n```py\na\n\nb",
    "longer fence": "````md\n```\nx\n```\n````\nend",
    "quote": "> said\n> ```\n> x\n> ```\n\n# Head\ntext",
    "empty code": "```\n```\n",
}


def grown(*texts: str) -> list[MarkdownBlock]:
    blocks, found = Blocks(), []
    for text in texts:
        found += blocks.feed(text)
    rest = blocks.rest(texts[-1], whole=True)
    return [*found, rest] if rest else found


def plain(lines) -> list[str]:
    drawn = ("".join(segment.text for segment in line).rstrip() for line in lines)
    return [line for line in drawn if line]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("width", [30, 90])
def test_blocks_drawn_one_by_one_look_like_the_whole_text(text, width):
    drawn = [line for block in blocks_of(text) for line in RENDERER.block(block, width)]
    whole = RENDERER.lines(RENDERER._markdown(text), width)
    assert plain(drawn) == plain(whole)


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@given(data=st.data())
def test_the_pieces_a_text_arrives_in_make_no_difference(text, data):
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12).map(sorted))
    assert grown(*(text[:cut] for cut in cuts), text) == blocks_of(text)


def test_long_code_is_split_so_that_little_is_redrawn():
    blocks = [block for block in blocks_of(LONG_CODE) if block.language == "python"]
    assert len(blocks) > 4
    assert [block.starts for block in blocks] == [True] + [False] * (len(blocks) - 1)
    assert all(PIECE - 2 <= block.text.count("\n") <= PIECE + 8 for block in blocks[:-1])
    dense = "```\n" + "x\n" * 1_000 + "```"
    assert max(block.text.count("\n") for block in blocks_of(dense)) <= LONGEST_PIECE


def test_an_incomplete_fence_does_not_show():
    for text in ("text\n``", "```py\nx = 1\n``", "```py\nx = 1\n```"):
        blocks = Blocks()
        found = blocks.feed(text)
        rest = blocks.rest(text, whole=False)
        assert not any("`" in block.text for block in (*found, rest) if block)


def test_each_complete_block_is_returned_once():
    blocks = Blocks()
    assert blocks.feed("first\n\n") == []
    assert blocks.feed("first\n\nsecond\n") == [MarkdownBlock("first\n\n")]
    assert blocks.feed("first\n\nsecond\n\nthird") == []
    assert blocks.rest("first\n\nsecond\n\nthird", whole=False) == MarkdownBlock("second\n\nthird")


def shown(text: str, width: int) -> list[str]:
    """An answer as it is drawn, without empty lines."""
    return plain(RENDERER.entry(Entry("answer", body=text), width))


@pytest.mark.parametrize(
    "text", ["a\n\n---\n\nb", "It is done.\n---\nb", "a\n\n***\nb", "- a\n\n___\n\nb"]
)
def test_three_dashes_are_a_rule(text):
    lines = shown(text, 60)
    assert "─" * 60 in lines
    assert not any("---" in line for line in lines)


def test_a_title_above_dashes_stays_a_heading():
    assert shown("What changed\n---\nb", 60) == ["What changed", "b"]


@pytest.mark.parametrize("width", [80, 190])
def test_prose_stops_at_a_hundred_columns_and_code_and_tables_do_not(width):
    long = "word " * 90
    for text in (long, f"- {long}", f"> {long}", f"# {long}", "a\n\n---"):
        assert max(map(len, shown(text, width))) <= min(width, 100), text
    code = "```py\n" + "x = 1 + " * 20 + "1\n```"
    table = f"| a | b |\n|---|---|\n| {long} | {long} |"
    for text in (code, table):
        assert max(map(len, shown(text, width))) > min(width, 100) - 10
    for kind in ("user", "notice", "thinking"):
        entry = Entry(kind, title=long, body=long, is_open=True)
        assert max(map(len, plain(RENDERER.entry(entry, width)))) <= min(width, 100), kind


TABLE = """\
| function | what it does | where | `code` |
|:--|--:|:-:|---|
| Cart.total | adds up the prices of all items | shop/cart.py | `an_identifier_that_has_no_space` |
| 合計 | 👩\u200d💻 | x | |
"""


@pytest.mark.parametrize("width", [12, 24, 40, 60, 100, 160])
def test_a_table_wraps_within_the_width_and_loses_nothing(width):
    lines = RENDERER.entry(Entry("answer", body=TABLE), width)
    assert all(sum(segment.cell_length for segment in line) <= width for line in lines)
    text = "".join("".join(segment.text for segment in line) for line in lines)
    letters = "".join(text.split())
    for word in ("合計", "👩\u200d💻", "function", "where"):
        assert word in letters
    for letter in "an_identifier_that_has_no_space":
        assert letter in letters
    assert "…" not in text


def test_words_are_not_broken_where_another_column_can_wrap():
    lines = shown("| name | text |\n|---|---|\n| Voucher.off | " + "word " * 30 + "|", 50)
    assert any(line.strip().startswith("Voucher.off") for line in lines)


def test_a_table_without_room_for_its_columns_is_drawn_as_lists():
    head = "|".join(f"column {n}" for n in range(7))
    rows = "|".join("some words" for _ in range(7))
    lines = shown(f"|{head}|\n|{'---|' * 7}\n|{rows}|", 40)
    assert lines == [f"column {n}: some words" for n in range(7)]


@pytest.mark.parametrize("text", ["```rust\nlet a;\n```", "1. do\n\n   ```rust\n   let a;\n   ```"])
def test_a_code_block_has_its_language_and_its_key_above_it(text):
    lines = shown(text, 60)
    label = next(n for n, line in enumerate(lines) if "rust" in line)
    assert lines[label].endswith("alt+c copies")
    assert "let a;" in lines[label + 1]
    assert "alt+c" not in "".join(shown(text, 16))


def test_code_blocks_are_found_wherever_they_are():
    text = LOOSE_LIST + "\n\n    indented\n"
    assert [(block.language, block.code.split()[0]) for block in code_blocks(text)] == [
        ("bash", "pip"), ("text", "```"), ("", "indented"),
    ]  # fmt: skip
