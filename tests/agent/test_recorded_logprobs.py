"""Log-probabilities are recorded when asked for, one for each token, and exported."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from laguna_agent.events import Reply
from laguna_agent.trajectory.atif import write_atif
from support.atif import Document
from support.forced import called, open_forced
from support.scripted import take


@pytest.mark.slow
@pytest.mark.parametrize("asked", [True, False])
async def test_log_probabilities_are_recorded_only_when_asked_for(
    tmp_path: Path, asked: bool
) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.txt").write_text("something\n")
    replies = iter([called("read", path="a.txt"), called("done", summary="Read.")])
    flags = {"trajectory": {"logprobs": asked or None}}
    session = await open_forced(root, lambda: next(replies), context=4_096, flags=flags)
    made = [event for event in await take(session, "Read a.txt") if isinstance(event, Reply)]
    assert len(made) == 2
    for reply in made:
        assert reply.token_ids
        assert (reply.logprobs is not None) == asked
        if reply.logprobs is not None:
            assert len(reply.logprobs) == len(reply.token_ids)
            assert all(value <= 0 for value in reply.logprobs)
    out = io.StringIO()
    write_atif(session.trajectory, out, session="s")
    document = Document.model_validate(json.loads(out.getvalue()))
    metrics = [step.metrics for step in document.steps if step.metrics]
    assert [m.logprobs for m in metrics] == [reply.logprobs for reply in made]
    await session.aclose()
