"""What of a conversation is kept in a new epoch."""

from __future__ import annotations

import pytest

from laguna_agent.agent.context.epoch import Epoch, build_epoch
from laguna_agent.events import Reply, SystemPrompt, ToolCall, ToolFinished, UserMessage
from laguna_agent.models.conversation import Message
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.replay import ConversationState

LONG = "".join(f"line {n} of a long result\n" for n in range(200))


async def count(text: str) -> int:
    return len(text) // 4


def state_of(results: list[str], *, exact: bool = True) -> ConversationState:
    """A conversation of one call and one result after the other."""
    state = ConversationState()
    ids = [1, 2, 3] if exact else None
    events = [
        SystemPrompt(text="You are an agent.", tools=[], tokens=3, token_ids=ids),
        UserMessage(text="Look at all of them."),
    ]
    for number, result in enumerate(results):
        call = ToolCall(id=f"c{number}", name="read", arguments={"path": f"{number}.txt"})
        events.append(Reply(text=f"Now {number}.", tool_calls=[call], token_ids=ids))
        events.append(ToolFinished(call_id=call.id, name="read", ok=True, content=result))
    for seq, event in enumerate(events):
        state.apply(StoredEvent(seq, "2026-01-01T00:00:00.000Z", event))
    return state


async def epoch_of(results: list[str], *, limit: int, exact: bool = True) -> Epoch:
    return await build_epoch(
        state_of(results, exact=exact),
        "So far.",
        first_message=lambda summary, messages, plan: "\n".join([summary, *messages, plan]),
        count=count,
        limit=limit,
        reserve=200,
    )


def results_of(epoch: Epoch) -> list[str]:
    return [e.content for e in epoch.entries if isinstance(e, Message) and e.role == "tool"]


async def test_older_results_lose_their_middle_and_more_steps_are_kept() -> None:
    epoch = await epoch_of([LONG] * 10, limit=10_000)
    results = results_of(epoch)
    assert results[-3:] == [LONG] * 3
    assert len(results) > 3
    for result in results[:-3]:
        assert len(result) < 1_000
        assert "recall e" in result
        assert result.startswith("line 0 of")
        assert result.endswith("line 199 of a long result\n")
    assert f"the middle of {len(results) - 3} older tool results" in epoch.dropped
    whole = results_of(await epoch_of([LONG] * 10, limit=10_000, exact=False))
    assert whole == [LONG] * len(whole)
    assert len(whole) < len(results)


@pytest.mark.parametrize("limit", [3_000, 10_000])
async def test_short_results_stay_as_they_are(limit: int) -> None:
    epoch = await epoch_of(["ok\n"] * 10, limit=limit)
    assert set(results_of(epoch)) == {"ok\n"}
    assert not [line for line in epoch.dropped if "middle" in line]
