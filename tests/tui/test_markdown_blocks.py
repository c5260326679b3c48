"""Streaming Markdown: split into blocks that look like the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laguna_agent.interfaces.tui.themes import PALETTES
from laguna_agent.interfaces.tui.transcript.markdown_blocks import (
    LONGEST_PIECE,
    PIECE,
    Blocks,
    MarkdownBlock,
    blocks_of,
)
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer
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
