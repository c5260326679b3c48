"""Forty facts, seen in twenty turns of one session, in a window that holds a few of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.events import Compacted, Event, Reply, ToolFinished
from support.forced import Fact, called, make_workspace, open_forced
from support.scripted import Script, ScriptedConversation, call, open_scripted, take

WINDOW = 8_192
TURNS = 20
SLOW_STEPS = 60
"""Each turn reads the whole prompt again, on the real engine."""


def missed(facts: list[Fact], events: list[Event]) -> list[tuple[Fact, str]]:
    """The facts that recall, asked for each in order, did not answer with, and what it said."""
    answers = [e.content for e in events if isinstance(e, ToolFinished) and e.name == "recall"]
    pairs = zip(facts, answers, strict=True)
    return [(fact, text) for fact, text in pairs if fact.sentence not in text]


@pytest.mark.slow
async def test_recall_finds_what_was_seen_in_any_turn_of_a_session_that_goes_on(
    tmp_path: Path,
) -> None:
    root = tmp_path / "repo"
    facts = make_workspace(root, 41, seed=3)
    compactions = 0
    for turn in range(TURNS):
        steps: Script = [
            *(call("read", path=f"src/f{number}.py") for number in (2 * turn, 2 * turn + 1)),
            Reply(text="Read. " + "So it goes on and on. " * 100),
        ]
        _, events = await _turn(root, steps, f"Read part {turn} of src", goes_on=turn > 0)
        compactions += sum(isinstance(event, Compacted) for event in events)
    assert compactions >= 2
    asking: Script = [
        *(call("recall", query=fact.question) for fact in facts), Reply(text="That is all."),
    ]  # fmt: skip
    talk, events = await _turn(root, asking, "What are the values?", goes_on=True)
    assert talk.used <= WINDOW
    assert missed(facts, events) == []


async def _turn(
    root: Path, steps: Script, text: str, *, goes_on: bool
) -> tuple[ScriptedConversation, list[Event]]:
    """A turn in a session of its own, whose model follows the steps and summarises when asked."""
    script = iter(steps)

    def reply() -> Reply:
        if talk.options[-1].grammar is not None:
            return Reply(text="Goal: read src.\nOpen: the next part.")
        step = next(script)
        return step() if callable(step) else step

    session, talk = await open_scripted(root, [reply], limit=WINDOW, continue_last=goes_on)
    events = await take(session, text)
    await session.aclose()
    return talk, events


@pytest.mark.slow
async def test_hundreds_of_steps_in_twenty_turns_lose_nothing(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    facts = make_workspace(root, SLOW_STEPS, seed=11)
    done: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, ToolFinished) and (event.ok or event.name != "read"):
            done.append(event.name)

    for turn in range(TURNS):
        end = (turn + 1) * SLOW_STEPS // TURNS

        def read(end: int = end) -> str:
            number = done.count("read")  # a reply that was discarded is made again
            if number == end:
                return called("done", summary="All of it is read.")
            return called("read", f"Now file {number}.", path=f"src/f{number}.py")

        session = await open_forced(root, read, context=WINDOW, flags={}, continue_last=turn > 0)
        await take(session, f"Read part {turn} of src.", watch=watch)
        await session.aclose()

    def ask() -> str:
        place = done.count("recall")
        if place == len(facts):
            return called("done", summary="That is all.")
        return called("recall", query=facts[place].question)

    session = await open_forced(root, ask, context=WINDOW, flags={}, continue_last=True)
    events = await take(session, "What are the values?", watch=watch)
    await session.aclose()
    assert missed(facts, events) == []
