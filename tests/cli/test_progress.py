"""The progress of a headless run."""

from __future__ import annotations

import io

import pytest

from laguna_agent.events import EngineRestarted, Event, Reply, RetryWait
from laguna_agent.interfaces.progress import ProgressPrinter
from laguna_agent.trajectory.document import blocks_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


BUSY = "the server is busy: Loading model"


def retries() -> list[Event]:
    """Two tries of a request to a server that is loading, with a second between the reports."""
    events: list[Event] = []
    for attempt in (1, 2):
        events.append(EngineRestarted(reason=BUSY, attempt=attempt, server=True, wait_s=2.0))
        events += [RetryWait(reason=BUSY, attempt=attempt, left_s=left) for left in (2.0, 1.0)]
    return [*events, Reply(text="Here I am.")]


def test_a_server_that_is_asked_again_is_one_line_that_counts_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("laguna_agent.interfaces.progress._REDRAW_S", 0.0)
    stream = Terminal()
    printer = ProgressPrinter(stream)
    for event in retries():
        printer.show(event)
    printer.close()
    shown = [part for part in stream.getvalue().split("\r\x1b[K") if part]
    lines = [f"asking the server again in {n} s (try {t}): {BUSY}" for t in (2, 3) for n in (2, 1)]
    assert shown == [*lines, "· Here I am.\n"]
    assert "engine" not in stream.getvalue()


def test_without_a_terminal_retries_do_not_fill_the_log() -> None:
    stream = io.StringIO()
    printer = ProgressPrinter(stream)
    for event in retries():
        printer.show(event)
    assert stream.getvalue() == f"- asking the server again: {BUSY}\n· Here I am.\n"


def test_a_local_engine_is_called_one() -> None:
    stream = io.StringIO()
    ProgressPrinter(stream).show(EngineRestarted(reason="it was killed", attempt=1))
    assert stream.getvalue() == "- engine restarted: it was killed\n"


def test_exports_do_not_speak_of_an_engine_where_there_is_none() -> None:
    assert (blocks_of(retries()[0]) or ("",))[0] == "Server asked again"
    assert (blocks_of(EngineRestarted(reason="killed", attempt=1)) or ("",))[
        0
    ] == "Engine restarted"
