"""Diffs: every line is readable at any width."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laguna_agent.interfaces.tui.themes import PALETTES
from laguna_agent.interfaces.tui.transcript import diff_view
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer

PALETTE = next(iter(PALETTES.values()))
NEW = "".join(f"new{n:03} " for n in range(60))
OLD = "".join(f"old{n:03} " for n in range(50))


def drawn(diff, width, **options):
    lines = EntryRenderer(PALETTE).lines(diff_view.render(diff, width, PALETTE, **options), width)
    return ["".join(part.text for part in line) for line in lines]


@pytest.mark.parametrize("width", [20, 40, 119, 120, 200])
def test_long_lines_are_wrapped(width):
    lines = drawn(f"--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n same\n-{OLD}\n+{NEW}\n", width)
    # Side by side, or unified.
    half = (width - 1) // 2 if width >= diff_view.SIDE_BY_SIDE else width
    read = "".join(line[4:half] for line in lines) + "".join(line[half + 5 :] for line in lines)
    assert re.findall("new[0-9]{3}", read.replace(" ", "")) == NEW.split()
    assert re.findall("old[0-9]{3}", read.replace(" ", "")) == OLD.split()
    assert all(len(line) <= width for line in lines)


def test_a_diff_that_need_not_be_whole_has_one_line_per_row():
    lines = drawn(f"+++ b/x.py\n@@ -1 +1 @@\n-{OLD}\n+{NEW}\n", 40, heading=False, whole=False)
    assert len(lines) == 2
    assert all(line.endswith("…") for line in lines)


def test_a_file_starts_with_its_name_and_first_line():
    lines = drawn("--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a\n+b\n@@ -9 +9 @@\n-c\n+d\n", 40)
    assert [line.split() for line in lines] == [
        ["x.py"], ["1", "-", "a"], ["1", "+", "b"], ["⋯"], ["9", "-", "c"], ["9", "+", "d"],
    ]  # fmt: skip


@settings(deadline=None)
@given(st.text(alphabet="ab \t日é\u0301🦙", min_size=1, max_size=90), st.integers(12, 60))
def test_wrapping_loses_no_character(text, width):
    lines = drawn(f"+++ b/x\n@@ -0,0 +1 @@\n+{text}|\n", width, heading=False)
    read = "".join(line[4:] for line in lines)
    assert "".join(read.split()) == "".join(f"{text}|".split())


def test_a_deleted_file_keeps_its_name_and_ends_where_the_next_begins() -> None:
    diff = (
        "--- a/gone.py\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x = 1\n-y = 2\n"
        "--- a/kept.py\n+++ b/kept.py\n@@ -1 +1 @@\n-a\n+b\n"
    )
    rows = [(row.kind, row.text) for row in diff_view.parse(diff) if row.kind != "hunk"]
    assert rows == [
        ("file", "gone.py"),
        ("removed", "x = 1"),
        ("removed", "y = 2"),
        ("file", "kept.py"),
        ("removed", "a"),
        ("added", "b"),
    ]
