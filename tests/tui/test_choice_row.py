"""How choices stand in lines."""

from __future__ import annotations

from laguna_agent.interfaces.tui.themes import PALETTES
from laguna_agent.interfaces.tui.widgets.choice_row import Choice, ChoiceRow

LABELS = ("once", "this session", "this repository", "everywhere")
CHOICES = [
    *(Choice(label, label, group="Allow") for label in LABELS),
    Choice("no", "no", group="or"),
    Choice("because", "no, because…", group="or"),
]


def test_the_choices_of_a_group_begin_a_line_with_its_name():
    row = ChoiceRow(PALETTES["laguna"])
    row.choices = CHOICES
    assert [line.plain.rstrip() for line in row.lines(96)] == [
        "Allow  once · this session · this repository · everywhere",
        "or     no · no, because…",
    ]
    assert [line.plain.rstrip() for line in row.lines(38)] == [
        "Allow  once · this session",
        "       this repository · everywhere",
        "or     no · no, because…",
    ]
    for width in range(24, 120):
        assert max(line.cell_len for line in row.lines(width)) <= width
