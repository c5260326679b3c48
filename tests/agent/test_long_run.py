"""Hundreds of steps of the real loop on a real engine in a small context: nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from laguna_agent.events import ToolFinished
from laguna_agent.memory.recall import Recall
from laguna_agent.models.local_conversation import LocalConversation
from support.forced import STEPS, LongRun, long_run


async def ended(run: LongRun) -> AsyncIterator[LongRun]:
    yield run
    await run.session.aclose()


def holds(run: LongRun) -> None:
    """What is true of every run, short or long."""
    talk = run.session.conversation
    assert isinstance(talk, LocalConversation)
    assert run.finished is not None
    assert run.finished.status == "done"
    # The context: neither the prompt nor any reply ever went beyond it, summaries included.
    assert run.highest <= talk.limit
    assert all(u.prompt_tokens + u.completion_tokens <= talk.limit for u in run.usages)
    # The summaries were the model's: each was asked for in the running conversation, of which
    # nothing was processed again.
    assert len(run.summaries) == len(run.compactions)
    for reply in run.summaries:
        assert reply.miss is None
        assert reply.usage.reused_tokens > 0.75 * reply.usage.prompt_tokens
    # A new epoch processes its first message and the kept steps, once, and nothing else.
    system = run.session.conversation_state.system
    assert system is not None
    prefix = system.tokens
    for compacted, first, steered in zip(
        run.compactions, run.first_usages, run.steered_tokens, strict=True
    ):
        opener = first.prompt_tokens - compacted.tokens_after - steered
        assert 0 < opener < 8
        assert first.prefilled_tokens == compacted.tokens_after - prefix + steered + opener
        assert first.reused_tokens == prefix


@pytest.mark.slow
async def test_a_run_longer_than_its_context_continues_in_epochs(tmp_path: Path) -> None:
    async for run in ended(await long_run(tmp_path / "repo", steps=30, context=8_192)):
        assert len(run.compactions) >= 3
        holds(run)
        first_message = run.first_message
        kept = " ".join(item.event.text for item in run.session.conversation_state.user_messages)  # type: ignore[union-attr]  # they are user messages
        for text in run.messages:
            assert text in kept
        assert run.messages[0] in first_message
        assert any("replies of the model" in line for line in run.compactions[-1].dropped)


@pytest.mark.slow
async def test_many_steps_in_8k_lose_nothing(tmp_path: Path) -> None:
    async for run in ended(await long_run(tmp_path / "repo", steps=STEPS, context=8_192)):
        assert run.finished is not None
        assert run.finished.steps == STEPS
        assert len(run.compactions) >= STEPS // 10
        holds(run)
        talk = run.session.conversation
        prompt = await talk._engine.detokenize(talk.tokens)  # type: ignore[attr-defined]  # a local one
        assert len(run.messages) == 1 + (STEPS + 12) // 25
        for text in run.messages:
            assert text in prompt
        # Memory does not grow with the steps, beyond what the allocator keeps.
        assert run.engine_kib[-1] < run.engine_kib[2 * STEPS // 3] * 1.1
        assert run.client_kib[-1] < run.client_kib[2 * STEPS // 3] * 1.15
        # Every planted fact is found again, in the event in which it was seen.
        trajectory = run.session.trajectory
        where = {
            fact.sentence: stored.seq
            for stored in trajectory.of_type("tool_finished")
            for fact in run.facts
            if isinstance(stored.event, ToolFinished) and fact.sentence in stored.event.content
        }
        assert len(where) == 40
        recall = Recall(tmp_path / "repo")
        found = [
            (hits[0].seq if (hits := recall.events(fact.question, limit=1)) else None)
            for fact in run.facts
        ]
        assert found == [where[fact.sentence] for fact in run.facts]
        answers = [recall.answer(fact.question) for fact in run.facts]
        recall.close()
        for fact, answer in zip(run.facts, answers, strict=True):
            assert fact.sentence in answer
