"""Rewinding on the real engine: the conversation goes back, with the files or without."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.events import Reply, ToolFinished
from laguna_agent.models.local_conversation import LocalConversation
from laguna_agent.trajectory.replay import conversation_state
from support.forced import called, open_forced
from support.scripted import take


@pytest.mark.slow
@pytest.mark.parametrize("code", [True, False])
async def test_rewinding_goes_back_to_the_same_tokens(tmp_path: Path, code: bool) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "kept.txt").write_text("as it was\n")
    script = iter(
        [
            called("read", path="kept.txt"),
            called("done", summary="Read."),
            called("write", path="new.txt", content="new"),
            called("done", summary="Made."),
            called("read", path="kept.txt"),
            called("done", summary="Again."),
        ]
    )
    session = await open_forced(root, lambda: next(script), context=8_192, flags={})
    talk = session.conversation
    assert isinstance(talk, LocalConversation)
    await take(session, "Read it")
    first = conversation_state(session.trajectory)
    await take(session, "Make new.txt")
    message = next(
        item
        for item in session.conversation_state.user_messages
        if item.event.text == "Make new.txt"  # type: ignore[union-attr]  # they are user messages
    )
    restored = await session.rewind(message.seq, code=code)
    assert (root / "new.txt").exists() is not code
    assert restored == (["new.txt"] if code else [])
    assert first.token_ids is not None
    held = list(talk.tokens)[first.system.tokens if first.system else 0 :]
    assert held[: len(first.token_ids)] == first.token_ids
    made = await take(session, "And again")
    replies = [event for event in made if isinstance(event, Reply)]
    # It continues right there, with nothing of the rewound part in between.
    prompt = replies[0].usage.prompt_tokens
    assert first.system is not None
    assert replies[0].prompt_token_ids is not None
    assert prompt == first.system.tokens + len(first.token_ids) + len(replies[0].prompt_token_ids)
    assert [event.ok for event in made if isinstance(event, ToolFinished)] == [True, True]
    state = conversation_state(session.trajectory)
    assert [item.event.text for item in state.user_messages] == ["Read it", "And again"]  # type: ignore[union-attr]  # they are user messages
    # The rewound events stay on record.
    kinds = [stored.event for stored in session.trajectory.of_type("user_message")]
    assert [event.text for event in kinds] == ["Read it", "Make new.txt", "And again"]  # type: ignore[union-attr]  # they are user messages
    await session.aclose()


@pytest.mark.slow
async def test_rewinding_across_a_compaction_brings_the_old_epoch_back(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "kept.txt").write_text("as it was\n" * 60)
    script = iter([called("read", path="kept.txt"), called("done", summary="Read."), "Fine."])
    session = await open_forced(root, lambda: next(script), context=8_192, flags={})
    await take(session, "Read it")
    before = conversation_state(session.trajectory)
    await session.compact()
    await take(session, "After the summary")
    message = session.conversation_state.user_messages[-1]
    await session.rewind(message.seq, code=False)
    assert session.conversation_state.epoch == 1
    await session.rewind(before.user_messages[0].seq, code=False)
    assert session.conversation_state.epoch == 0
    assert session.conversation_state.user_messages == []
    await session.aclose()
