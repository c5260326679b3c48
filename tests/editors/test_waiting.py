"""Waiting is shown while the model loads or reads a prompt, unless it is over in a moment."""

from __future__ import annotations

from typing import Any

from laguna_agent.events import ModelLoading, PrefillProgress, RetryWait
from laguna_agent.interfaces.acp.waiting import WaitingCard


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def card() -> tuple[WaitingCard, Clock, list[Any]]:
    sent: list[Any] = []
    clock = Clock()
    return WaitingCard(sent.append, clock), clock, sent


def reading(done: int, eta: float = 0.0) -> PrefillProgress:
    return PrefillProgress(done=done, total=8_000, reused=0, rate=200.0, eta_s=eta)


def test_a_prompt_that_takes_long_shows_tokens_and_time_at_once() -> None:
    waiting, clock, sent = card()
    waiting.show(reading(1_200, 34.0))
    [start] = sent
    assert (start.status, start.kind) == ("in_progress", "think")
    assert start.title == "Reading the prompt: 1,200 of 8,000 tokens, 34 s left"
    clock.now = 0.1
    waiting.show(reading(1_300, 33.9))  # too soon
    clock.now = 0.9
    waiting.show(reading(2_000, 30.0))
    waiting.end()
    assert [update.title for update in sent[1:]] == [
        "Reading the prompt: 2,000 of 8,000 tokens, 30 s left"
    ] * 2
    assert sent[-1].status == "completed"
    assert {update.tool_call_id for update in sent} == {"waiting-1"}


def test_a_moment_is_not_shown() -> None:
    waiting, clock, sent = card()
    waiting.show(reading(100))
    clock.now = 0.5
    waiting.show(reading(8_000))
    waiting.end()
    assert sent == []


def test_each_wait_has_a_card_of_its_own() -> None:
    waiting, clock, sent = card()
    waiting.show(ModelLoading(done=1, total=2 * 10**9))
    clock.now = 2.0
    waiting.show(ModelLoading(done=10**9, total=2 * 10**9))
    waiting.show(reading(10, 100.0))
    clock.now = 4.0
    waiting.show(RetryWait(reason="busy", attempt=1, left_s=3.0))
    clock.now = 6.0
    waiting.show(RetryWait(reason="busy", attempt=1, left_s=1.0))
    waiting.end()
    titles = [update.title for update in sent if update.session_update == "tool_call"]
    assert titles[0] == "Loading the model: 1.0 GB of 2.0 GB"
    assert titles[1].startswith("Reading the prompt: 10 of")
    assert titles[2].startswith("Asking the server again in 1 s")
    statuses: dict[str, str] = {}
    for update in sent:
        statuses[update.tool_call_id] = update.status or statuses[update.tool_call_id]
    assert statuses == dict.fromkeys(("waiting-1", "waiting-2", "waiting-3"), "completed")
