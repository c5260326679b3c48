"""The activity line: what it shows, and what it keeps where there is little room."""

from __future__ import annotations

import pytest
from textual.geometry import Size

from laguna_agent.events import (
    ModelLoading,
    PrefillProgress,
    RetryWait,
    StepStarted,
    SystemNote,
    TextDelta,
)
from laguna_agent.interfaces.tui.themes import PALETTES
from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine


class Line(ActivityLine):
    """A line without an app."""

    size = Size(80, 1)


def line(width):
    made = Line(PALETTES["laguna"])
    made.still = True
    made.size = Size(width, 1)
    return made


READING = PrefillProgress(done=1_536, total=4_210, reused=5_100, rate=33, eta_s=81)


@pytest.mark.parametrize("width", [120, 90, 76, 60, 50, 40, 36])
def test_progress_and_time_left_of_a_prompt_show_at_every_width(width):
    made = line(width)
    made.show_event(READING)
    shown = made.render().plain
    assert len(shown) <= width
    assert "reading" in shown
    assert "1,536" in shown
    assert "4,210" in shown
    assert "81 s left" in shown


def test_a_wide_line_shows_everything():
    made = line(120)
    made.show_event(READING)
    assert made.render().plain == (
        "⠋ reading ━━━━━━━━━━━━ 1,536 of 4,210 tokens · 5,100 reused · 33/s · 81 s left · esc stops"
    )


def test_the_time_left_and_the_bar_advance_between_two_reports(monkeypatch):
    now = 100.0
    monkeypatch.setattr(
        "laguna_agent.interfaces.tui.widgets.activity_line.time.monotonic", lambda: now
    )
    made = line(120)
    made.set_interval = lambda *_: None
    made.still = False
    made.show_event(PrefillProgress(done=0, total=400, reused=0, rate=40, eta_s=10))
    first = made.render().plain
    assert "0 of 400 tokens · 40/s · 10 s left" in first
    now += 4
    second = made.render()
    assert "0 of 400 tokens · 40/s · 6.0 s left" in second.plain
    [filled, *_] = [s for s in second.spans if "━" in second.plain[s.start : s.end]]
    assert second.plain[filled.start : filled.end].strip() == "━" * 5
    now += 60  # slower than reported: the bar never fills early
    third = made.render()
    assert "left" not in third.plain
    [filled, *_] = [s for s in third.spans if "━" in third.plain[s.start : s.end]]
    assert third.plain[filled.start : filled.end].strip() == "━" * 11


@pytest.mark.parametrize("width", [76, 50, 36])
def test_a_long_tool_title_leaves_room_for_the_key_that_stops_it(width):
    made = line(width)
    made.report("running " + "pytest -x " * 20)
    shown = made.render().plain
    assert len(shown) <= width
    assert shown.endswith("… · esc stops")


def test_text_after_a_compaction_note_shows_as_summarising():
    made = line(76)
    made.show_event(SystemNote(text="Summarise.", reason="compaction"))
    made.show_event(TextDelta(text="## Goal"))
    assert "summarising" in made.render().plain
    made.show_event(StepStarted(step=2))
    made.show_event(TextDelta(text="Now"))
    assert "writing" in made.render().plain


def test_loading_shows_the_bytes_of_the_model():
    made = line(76)
    made.show_event(ModelLoading(done=12_400_000_000, total=20_274_300_032))
    assert "12.4 GB of 20.3 GB" in made.render().plain
    made.show_event(ModelLoading(done=0, total=20_274_300_032, measuring=True))
    assert "measuring the best settings for this machine" in made.render().plain
    assert "GB" not in made.render().plain


def test_the_line_is_empty_when_nothing_runs():
    made = line(76)
    made.report("working")
    made.end()
    assert made.render().plain == ""


def test_the_wait_for_the_next_try_of_a_server_counts_down():
    made = line(80)
    shown = []
    for left in (3.0, 2.0, 1.0):
        made.show_event(RetryWait(reason="the server is busy", attempt=1, left_s=left))
        shown.append(made.render().plain)
    assert shown == [f"⠋ asking the server again in {n} s · esc stops" for n in (3, 2, 1)]
