"""Diffs and texts as editors take them."""

from __future__ import annotations

from pathlib import Path

from acp import schema
from hypothesis import given
from hypothesis import strategies as st

from laguna_agent.interfaces.acp.content import MOST_SHOWN, code_content, hunks, prompt_text
from laguna_agent.tools.files.diffs import unified

LINES = st.lists(st.text("ab\\-+@ \u2028\r", max_size=6), max_size=12)


@given(LINES, LINES, st.booleans(), st.booleans())
def test_the_hunks_of_a_diff_are_what_was_there_and_what_is(
    before: list[str], after: list[str], before_ends: bool, after_ends: bool
) -> None:
    old = "\n".join(before) + ("\n" if before_ends and before else "")
    new = "\n".join(after) + ("\n" if after_ends and after else "")
    changed = old
    for hunk in reversed(hunks(unified(old, new, "a", context=3))):
        assert (hunk.old or "") in old
        assert hunk.new in new
    for hunk in hunks(unified(old, new, "a", context=1_000)):
        changed = changed.replace(hunk.old, hunk.new, 1) if hunk.old else hunk.new + changed
    assert changed == new


def test_a_new_file_has_no_old_text() -> None:
    assert [hunk.old for hunk in hunks(unified("", "a\nb", "new"))] == [None]
    assert [hunk.new for hunk in hunks(unified("", "a\nb", "new"))] == ["a\nb"]


def test_a_fence_holds_what_has_fences_and_long_texts_are_cut() -> None:
    shown = code_content("```\nx\n```", "console").content
    assert isinstance(shown, schema.TextContentBlock)
    assert shown.text == "````console\n```\nx\n```\n````"
    cut = code_content("x" * 10 * MOST_SHOWN).content
    assert isinstance(cut, schema.TextContentBlock)
    assert len(cut.text) < MOST_SHOWN + 100


def test_links_of_all_kinds_are_named() -> None:
    def link(uri: str) -> schema.ResourceContentBlock:
        return schema.ResourceContentBlock(type="resource_link", uri=uri, name="n")

    here = Path("/repo")
    assert prompt_text([link("file:///repo/a%20b.py")], here) == "a b.py"
    assert prompt_text([link("file:///repo")], here) == "."
    assert prompt_text([link("file:///repo2/a.py#L7")], here) == "/repo2/a.py:7"
    assert prompt_text([link("https://a.b/c?d#e")], here) == "https://a.b/c?d#e"
    assert prompt_text([link("zed:///agent/symbol")], here) == "zed:///agent/symbol"
    assert prompt_text([link("")], here) == "n"
    image = schema.ImageContentBlock(type="image", data="AAAA", mime_type="image/png")
    assert "left out" in prompt_text([image], here)
