"""How a server's smaller window is seen from its counts, and what is not taken for one."""

from __future__ import annotations

from typing import Any

import pytest

from laguna_agent.events import FinishReason, Reply, Usage
from laguna_agent.models.servers.http_messages import Messages
from laguna_agent.models.servers.window import Window


def seen(
    *texts: str,
    read: int,
    written: int = 20,
    finish: FinishReason = "stop",
    known: tuple[int, int] = (0, 0),
    thoughts: str = "",
    limit: int = 32_768,
    reused: int = 0,
    roles: tuple[str, ...] = (),
) -> int | None:
    """The window that a reply to these messages shows."""
    items: list[dict[str, Any]] = [{"role": "user", "content": text} for text in texts]
    items[0]["reasoning_content"] = thoughts
    for item, role in zip(items, roles, strict=False):
        item["role"] = role
    messages = Messages(items, *known)
    usage = Usage(prompt_tokens=read, completion_tokens=written, reused_tokens=reused)
    reply = Reply(text="x", finish_reason=finish, usage=usage)
    expected = sum(map(len, texts)) // 4
    found = Window().smaller_than(limit, reply, messages, [], expected, 4096)
    assert found is None or found.text.count(".") == 2
    return found.tokens if found is not None else None


PROSE = "The quick brown fox jumps over the lazy dog. " * 3_600
"""162,000 characters, 32,400 words."""


@pytest.mark.parametrize(
    ("read", "window"), [(4096, 4096), (4090, 4096), (3500, 4096), (2048, 2048), (8192, 8192)]
)
def test_a_prompt_of_more_words_than_tokens_was_cut(read: int, window: int) -> None:
    assert seen(PROSE, read=read) == window


def test_a_window_that_was_adopted_and_still_cuts_is_lowered_further() -> None:
    assert seen(PROSE, read=3500, limit=4096) == 3500


def test_a_count_that_does_not_grow_with_the_prompt_shows_a_cut() -> None:
    fresh = "word " * 900
    assert seen("a", fresh, read=4096, known=(3900, 1)) == 4096
    assert seen("a", fresh, read=4900, known=(3900, 1)) is None


@pytest.mark.parametrize(
    ("texts", "read", "known"),
    [
        ([" " * 60_000], 1_500, (0, 0)),
        (["=" * 80_000], 1_300, (0, 0)),
        (["x" * 50_000], 7_000, (0, 0)),
        (["数据" * 4_000], 8_000, (0, 0)),
        ([PROSE], 36_000, (0, 0)),
        ([PROSE], 300, (0, 0)),  # a server that counts only what it had not read before
        ([PROSE], 0, (0, 0)),
    ],
)
def test_other_counts_are_no_cuts(texts: list[str], read: int, known: tuple[int, int]) -> None:
    assert seen(*texts, read=read, known=known) is None


def test_thoughts_that_a_template_drops_are_no_cut() -> None:
    thoughts = "hm " * 4_000
    assert seen("a", "b", read=2_000, known=(5_900, 1), thoughts=thoughts) is None


@pytest.mark.parametrize(
    ("read", "written", "window"),
    [(193, 3903, 4096), (96, 4000, 4096), (6000, 2190, 8190), (193, 3000, None), (193, 4096, None)],
)
def test_a_reply_that_ends_where_windows_end_shows_one(
    read: int, written: int, window: int | None
) -> None:
    assert seen("a", read=read, written=written, finish="length") == window


FILE = "the value of a word is here " * 200
"""5,600 characters, 1,400 words."""


def test_a_count_of_only_the_new_tokens_is_no_cut() -> None:
    assert seen("a", FILE, read=1_500, known=(1_800, 1)) is None
    assert seen("a", FILE, read=2_100, known=(3_000, 1)) is None
    assert seen(PROSE, "b", FILE, read=1_600, known=(40_000, 2)) is None


def test_a_first_prompt_whose_beginning_another_conversation_had_is_no_cut() -> None:
    roles = ("system", "user")
    assert seen("rule " * 3_000, FILE, read=1_500, roles=roles) is None
    assert seen("rule " * 3_000, "rule " * 2_000 + FILE, read=1_500, roles=roles) is None
    assert seen("rule " * 3_000, PROSE, read=4_096, roles=roles) == 4_096


def test_a_resumed_conversation_that_the_server_had_is_no_cut() -> None:
    roles = ("system", "user", "assistant", "tool")
    assert seen("rule", PROSE, "b", FILE, read=1_600, roles=roles) is None


def test_tokens_that_the_server_names_as_cached_are_not_missing() -> None:
    assert seen("a", "word " * 900, read=4_096, known=(3_900, 1), reused=3_000) is None


def test_a_count_above_and_one_below_what_is_new_are_cuts() -> None:
    assert seen("a", FILE, read=4_096, known=(8_000, 1)) == 4_096
    assert seen("a", FILE * 4, read=4_096, known=(8_000, 1)) == 4_096


def test_a_reply_that_ends_by_itself_after_a_count_of_only_new_tokens_shows_no_window() -> None:
    assert seen(PROSE, "b", read=300, written=724, finish="length", known=(40_000, 1)) is None
