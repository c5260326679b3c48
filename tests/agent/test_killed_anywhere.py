"""A real run, its record cut at every byte: no whole event is lost, and it can be resumed."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

import pytest

from laguna_agent.events import Compacted, Event, Notice, Reply, ToolFinished, TurnFinished
from laguna_agent.trajectory import store
from laguna_agent.trajectory.meta import Meta, write_meta
from laguna_agent.trajectory.replay import conversation_state
from laguna_agent.trajectory.store import Trajectory
from support.forced import called, open_forced
from support.scripted import compact, take

CONTEXT = 8_192


async def recorded(root: Path) -> Path:
    """Two turns with tools, a check, a change and a compaction between them; the record's path."""
    root.mkdir()
    (root / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    script = iter(
        [
            called("read", "First the code. \u2028 It is short.", path="calc.py"),
            called("shell", command="seq 500"),  # what compacting saves
            called("write", path="calc.py", content="def add(a, b):\n    return a + b\n"),
            called("done", summary="add adds."),
            called("shell", command="echo é; exit 3"),
            called("done", summary="Seen."),
        ]
    )
    session = await open_forced(root, lambda: next(script), context=CONTEXT, flags={})
    first = await take(session, "Fix add in calc.py; never touch the tests.")
    assert [e.ok for e in first if isinstance(e, ToolFinished)] == [True] * 4
    compacted = await compact(session)
    assert isinstance(compacted[-1], Compacted)
    second = await take(session, "And now look at a command that fails.")
    assert isinstance(second[-1], TurnFinished)
    assert second[-1].status == "done"
    await session.aclose()
    return session.trajectory.path


@pytest.mark.slow
async def test_a_real_record_cut_at_every_byte_loses_no_whole_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await recorded(tmp_path / "repo")
    monkeypatch.setattr(store.os, "fsync", lambda handle: None)  # thousands would take minutes
    data = path.read_bytes()
    ends = [match.end() for match in re.finditer(rb"\n", data)]
    with Trajectory.open(path, for_append=False) as whole:
        events: list[Event] = [item.event for item in whole.events()]
    assert {"compacted", "reply", "grammar_used", "checkpointed"} <= {e.type for e in events}
    meta = Meta(id=path.parent.name)
    held = -1
    for cut in range(len(data) + 1):
        count = sum(end - 1 <= cut for end in ends)  # a line is whole without its newline
        if count != held:
            # With a meta that fits, opening reads only the end; once for each event it has none.
            held, meta.events = count, count
            (path.parent / "meta.json").unlink(missing_ok=True)
        else:
            write_meta(path.parent, meta)
        path.write_bytes(data[:cut])
        with Trajectory.open(path) as again:
            assert again.last_seq == count, cut
            begin = ends[count - 1] if count else 0
            torn = data[begin:cut]
            assert path.read_bytes() == data[:begin], cut
            assert bool(again.problems) == bool(torn), cut
            if torn:
                assert f"({len(torn)} bytes of an unfinished event)" in again.problems[0]
                assert (path.parent / f"torn-{begin}").read_bytes() == torn
        for name in os.listdir(path.parent):
            if name.startswith("torn-"):
                (path.parent / name).unlink()


@pytest.mark.slow
async def test_a_real_record_cut_after_any_event_can_be_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await recorded(tmp_path / "repo")
    data = path.read_bytes()
    ends = [match.end() for match in re.finditer(rb"\n", data)]
    with Trajectory.open(path, for_append=False) as whole:
        events: list[Event] = [item.event for item in whole.events()]
    prompts: list[list[int]] = []
    for count, end in enumerate(ends, 1):
        # Cut in the middle of the next event.
        path.write_bytes(data[: end + 17])
        with Trajectory.open(path) as again:
            assert [item.event for item in again.events()] == events[:count]
            state = conversation_state(again)
            for result in state.missing_results:
                again.append(result)
            again.append(Notice(text="on"))
            assert [item.event for item in again.events()][-1] == Notice(text="on")
            assert conversation_state(again).missing_results == []
        if isinstance(events[count - 1], Reply):
            assert state.token_ids is not None
            prompts.append(list(state.token_ids))
    # The prompt comes back as it grew: each one begins with the one before, but for the epoch.
    grown = [later[: len(earlier)] == earlier for earlier, later in pairwise(prompts)]
    assert len(grown) == 6
    assert grown.count(False) == 1
