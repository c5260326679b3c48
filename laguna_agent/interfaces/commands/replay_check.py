"""Checking a recorded run against the model: greedy replies must come out the same again.

A reply is compared token by token with what the model chooses now, under the grammar that held it
then, which is on record. What was said must also be what the recorded tokens spell, so that
neither the tokens nor the texts of a verified session can have been changed.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laguna_agent.errors import ExitCode, ModelError, UsageError
from laguna_agent.events import GrammarUsed, Reply, SystemNote, ToolFinished, UserMessage
from laguna_agent.models.engine.interface import TIE
from laguna_agent.trajectory.replay import ConversationState, active_events
from laguna_agent.trajectory.store import Trajectory

if TYPE_CHECKING:
    from laguna_agent.models.chat.chat_format import Grammar
    from laguna_agent.models.engine.interface import Engine, Score


def verify(trajectory: Trajectory) -> int:
    """Ask the model again for every greedy reply of a session; 0 when all come out the same."""
    return asyncio.run(_verify(trajectory))


async def _verify(trajectory: Trajectory) -> int:
    from laguna_agent.config import load_config
    from laguna_agent.models.engine.client import open_engine
    from laguna_agent.models.store import resolve

    state = ConversationState()
    for stored in trajectory.events(whole=False):
        state.apply(stored)
        if state.started is not None and state.system is not None:
            break
    if state.started is None or state.system is None:
        raise UsageError(f"session {trajectory.id} does not say what it ran with")
    recorded = state.started.model
    config = load_config()
    try:
        model = await asyncio.to_thread(resolve, recorded.get("name"), config)
    except ModelError:
        if config.model is None:
            raise
        # It ran from a file: the digest tells whether the one that is configured is the same.
        model = await asyncio.to_thread(resolve, config.model, config)
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


@dataclass
class Verified:
    """What was found in one session."""

    replies: int = 0
    tokens: int = 0
    close: int = 0
    """Tokens that were another choice, within `TIE`."""
    wrong: int = 0
    """Tokens that are not what the model chooses."""
    changed: int = 0
    """Replies whose texts are not what their tokens spell."""
    drawn: int = 0
    """Replies that were drawn, not greedy, or have no token ids: nothing can be said of them."""

    def line(self) -> str:
        """All of it, for a person."""
        same = self.tokens - self.close - self.wrong
        seen = f"{self.replies} greedy replies, {self.tokens} tokens"
        parts = [f"{seen}: {same} the model's own choice again"]
        if self.close:
            parts.append(f"{self.close} too close to call")
        if self.wrong:
            parts.append(f"{self.wrong} not")
        if self.changed:
            parts.append(f"{self.changed} replies whose texts were changed")
        if self.drawn:
            parts.append(f"{self.drawn} replies not looked at, because they were drawn at random")
        return ", ".join(parts) + "."


async def replay_greedy(trajectory: Trajectory, engine: Engine) -> int:
    """Compare every greedy reply that has token ids with what the engine chooses now."""
    state, found = ConversationState(), Verified()
    grammars = dict(_grammars(trajectory))
    for stored in active_events(trajectory, whole=True):
        event = stored.event
        if isinstance(event, Reply) and not event.discarded:
            prefix = state.system.token_ids if state.system else None
            if not _greedy(event) or prefix is None or state.token_ids is None:
                found.drawn += 1
            else:
                prompt = [*prefix, *state.token_ids, *(event.prompt_token_ids or ())]
                said = await _verify_reply(engine, state, event, prompt, grammars, found)
                sys.stdout.write(f"e{stored.seq}: {said}\n")
                sys.stdout.flush()
        state.apply(stored)
    if not found.replies:
        sys.stderr.write("No greedy replies with token ids are on record: nothing to verify.\n")
        return int(ExitCode.FAILED)
    sys.stdout.write(found.line() + "\n")
    return int(ExitCode.FAILED if found.wrong or found.changed else ExitCode.DONE)


def _grammars(trajectory: Trajectory) -> Iterator[tuple[str, Grammar]]:
    from laguna_agent.models.chat.chat_format import Grammar

    for stored in trajectory.of_type("grammar_used"):
        if isinstance(used := stored.event, GrammarUsed):
            tokens, patterns = tuple(used.trigger_tokens), tuple(used.trigger_patterns)
            yield used.digest, Grammar(used.gbnf, used.root, used.lazy, tokens, patterns)


def _greedy(reply: Reply) -> bool:
    return reply.temperature == 0 and bool(reply.token_ids) and reply.prompt_token_ids is not None


async def _verify_reply(
    engine: Engine,
    state: ConversationState,
    reply: Reply,
    prompt: list[int],
    grammars: dict[str, Grammar],
    found: Verified,
) -> str:
    """Verify one reply and add it to `found`; returns what to say of it."""
    from laguna_agent.models.conversation import Sampling
    from laguna_agent.models.engine.interface import EngineRequest

    wanted = reply.token_ids or []
    found.replies += 1
    found.tokens += len(wanted)
    if reply.grammar is not None and reply.grammar not in grammars:
        found.wrong += len(wanted)
        return f"the grammar {reply.grammar} that held it is not on record"
    penalty = state.started.sampling.get("repeat_penalty", 1.0) if state.started else 1.0
    request = EngineRequest(
        tokens=prompt,
        sampling=Sampling(temperature=0.0, top_k=0, repeat_penalty=penalty),
        max_tokens=len(wanted),
        grammar=grammars[reply.grammar] if reply.grammar is not None else None,
        think_close=reply.think_close,
        thinking_budget=reply.thinking_budget,
    )
    scores = await engine.score(request, wanted)
    wrong = [place for place, score in enumerate(scores) if score.gap > TIE]
    close = sum(0 < score.gap <= TIE for score in scores)
    left = len(wanted) - len(scores)  # the grammar cannot follow beyond what it refuses
    found.wrong += len(wrong) + left
    found.close += close
    if wrong:
        return await _told(engine, scores, wrong, len(wrong) + left, len(wanted))
    changed = await _changed(engine, state, reply)
    if changed:
        found.changed += 1
        return f"its tokens are the model's, but {changed} is not what they spell"
    return "the same" + f" ({close} of {len(wanted)} tokens too close to call)" * bool(close)


async def _told(
    engine: Engine, scores: list[Score], wrong: list[int], count: int, total: int
) -> str:
    first = scores[wrong[0]]
    if math.isinf(first.gap):
        how = "which the grammar refuses"
    else:
        how = f"{first.gap:.2f} less likely than {await engine.detokenize([first.choice])!r}"
    was = await engine.detokenize([first.wanted])
    return (
        f"{count} of {total} tokens differ, the first at token {wrong[0]}: "
        f"{was!r} is recorded, {how}"
    )


async def _changed(engine: Engine, state: ConversationState, reply: Reply) -> str:
    """What of the texts is not what the tokens spell; empty when all is."""
    spelled = _folded(await engine.detokenize(reply.token_ids or []))
    texts = [*reply.text.split("\n"), *reply.thinking.split("\n")]
    if any(_folded(line) not in spelled for line in texts):
        return "its text"
    if any(_folded(call.raw) not in spelled for call in reply.tool_calls):
        return "a call"
    read = _folded(await engine.detokenize(reply.prompt_token_ids or []))
    for item in state.pending:
        if item.seq <= state.epoch_seq:  # of a new epoch a part may have been cut
            continue
        match item.event:
            case UserMessage() | SystemNote():
                text, what = item.event.text, f"message e{item.seq}"
            case ToolFinished():
                text, what = item.event.content, f"result e{item.seq}"
            case _:
                continue
        if _folded(text) not in read:
            return f"{what} before it"
    return ""


def _folded(text: str) -> str:
    """Text as it survives tokens: what is not valid replaced, white space folded."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
