"""Checking a recorded run against the model: greedy replies must come out the same again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from laguna_agent.errors import ExitCode, ModelError, UsageError
from laguna_agent.events import Reply
from laguna_agent.trajectory.replay import ConversationState, active_events
from laguna_agent.trajectory.store import Trajectory

if TYPE_CHECKING:
    from laguna_agent.models.engine.base import Engine


def verify(trajectory: Trajectory) -> int:
    """Ask the model again for every greedy reply of a session; 0 when all come out the same."""
    return asyncio.run(_verify(trajectory))


async def _verify(trajectory: Trajectory) -> int:
    from laguna_agent.config import load_config
    from laguna_agent.models.engine.client import open_engine
    from laguna_agent.models.store import resolve

    state = ConversationState()
    for stored in trajectory.events(whole=False):
        state.take(stored)
        if state.started is not None and state.system is not None:
            break
    if state.started is None or state.system is None:
        raise UsageError(f"session {trajectory.id} does not say what it ran with")
    recorded = state.started.model
    config = load_config()
    model = await asyncio.to_thread(resolve, recorded.get("name"), config)
    if recorded.get("sha256") not in (None, model.sha256):
        raise ModelError(
            f"{model.name} is not the file that this session ran with (its digest differs)"
        )
    context = recorded.get("context") or config.engine.context
    engine_config = config.engine.model_copy(update={"context": context})
    engine = await open_engine(model.path, config=engine_config, sha256=model.sha256)
    try:
        return await replay_greedy(trajectory, engine)
    finally:
        await engine.aclose()


async def replay_greedy(trajectory: Trajectory, engine: Engine) -> int:
    """Compare every greedy reply that has token ids with what the engine writes now.

    Where a grammar had bound the choice, the recorded token is taken and counted as bound:
    the model without the grammar would have chosen another.
    """
    state = ConversationState()
    replies = tokens = other = 0
    for stored in active_events(trajectory, whole=True):
        event = stored.event
        if isinstance(event, Reply) and not event.discarded and _greedy(event):
            prefix = state.system.token_ids if state.system else None
            if prefix is not None and state.token_ids is not None:
                prompt = [*prefix, *state.token_ids, *(event.prompt_token_ids or ())]
                wanted = event.token_ids or []
                differ = await _differences(engine, prompt, wanted)
                replies, tokens, other = replies + 1, tokens + len(wanted), other + len(differ)
                mark = "same" if not differ else f"{len(differ)} of {len(wanted)} tokens differ"
                first = f", the first at token {differ[0]}" if differ else ""
                sys.stdout.write(f"e{stored.seq}: {mark}{first}\n")
                sys.stdout.flush()
        state.take(stored)
    if not replies:
        sys.stderr.write("No greedy replies with token ids are on record: nothing to verify.\n")
        return int(ExitCode.FAILED)
    sys.stdout.write(
        f"{replies} greedy replies, {tokens} tokens, {tokens - other} the model's own choice again"
        + (
            f", {other} not (a grammar chose them, or another build computes otherwise)"
            * bool(other)
        )
        + "\n"
    )
    return int(ExitCode.DONE if not other else ExitCode.FAILED)


def _greedy(reply: Reply) -> bool:
    return reply.temperature == 0 and bool(reply.token_ids) and reply.prompt_token_ids is not None


async def _differences(engine: Engine, prompt: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Positions at which the model's first choice is not what was recorded."""
    from laguna_agent.models.base import Sampling
    from laguna_agent.models.engine.base import EngineRequest, Finished

    differ: list[int] = []
    done = 0
    while done < len(wanted):
        request = EngineRequest(
            tokens=[*prompt, *wanted[:done]],
            sampling=Sampling(temperature=0.0, top_k=0),
            max_tokens=len(wanted) - done,
        )
        ids: tuple[int, ...] = ()
        async with aclosing(engine.generate(request)) as events:  # type: ignore[type-var]  # it is an async generator
            async for event in events:
                if isinstance(event, Finished):
                    ids = event.ids
        same = 0
        while same < len(ids) and ids[same] == wanted[done + same]:
            same += 1
        done += same
        if done < len(wanted):
            differ.append(done)
            done += 1
    return differ
