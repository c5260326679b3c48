"""Checks a recorded session against the model: its greedy replies must come out the same.

A reply is compared token by token with what the model chooses now, under the grammar that
constrained it, which is on record. Its text must also be what its tokens spell, so neither the
tokens nor the texts of a verified session can have been changed.
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
from laguna_agent.interfaces.commands.command_line import write_line
from laguna_agent.models.engine.interface import TIE
from laguna_agent.plurals import counted
from laguna_agent.trajectory.replay import ConversationState, active_events
from laguna_agent.trajectory.store import Trajectory

if TYPE_CHECKING:
    from laguna_agent.models.chat.chat_format import Grammar
    from laguna_agent.models.engine.interface import Engine, Score


def verify(trajectory: Trajectory) -> int:
    """Run the model again for every greedy reply of a session; 0 when all come out the same."""
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
        raise UsageError(f"session {trajectory.id} has no record of its model and prompt")
    recorded = state.started.model
    if recorded.get("format") == "openai" or str(recorded.get("engine")).startswith("server "):
        raise UsageError(
            f"{recorded.get('name')} answered on a server: its replies cannot be computed here",
            hint="Sessions of models on this machine can be verified.",
        )
    config = load_config()
    try:
        model = await asyncio.to_thread(resolve, recorded.get("name"), config)
    except ModelError:
        if config.model is None:
            raise
        # It ran from a file. The digest below shows whether the configured model is the same.
        model = await asyncio.to_thread(resolve, config.model, config)
    if recorded.get("sha256") not in (None, model.sha256):
        raise ModelError(f"{model.name} is not the model file of this session (its digest differs)")
    context = recorded.get("context") or config.engine.context
    engine_config = config.engine.model_copy(update={"context": context})
    engine = await open_engine(model.path, config=engine_config, sha256=model.sha256)
    try:
        return await replay_greedy(trajectory, engine)
    finally:
        await engine.aclose()


@dataclass
class Comparison:
    """Totals of comparing one session."""

    replies: int = 0
    tokens: int = 0
    close: int = 0
    """Tokens where the model now chooses another that is as likely, within `TIE`."""
    wrong: int = 0
    """Tokens that the model does not choose."""
    changed: int = 0
    """Replies whose text is not what their tokens spell."""
    skipped: int = 0
    """Replies that cannot be compared: sampled at random, or without token ids."""

    def summary(self) -> str:
        """The totals in one sentence."""
        same = self.tokens - self.close - self.wrong
        replies = counted(self.replies, "greedy reply", "greedy replies")
        parts = [f"{replies}, {counted(self.tokens, 'token')}: {same} the same again"]
        if self.close:
            parts.append(f"{self.close} too close to call")
        if self.wrong:
            parts.append(f"{self.wrong} different")
        if self.changed:
            parts.append(f"{counted(self.changed, 'reply', 'replies')} with changed text")
        if self.skipped:
            skipped = counted(self.skipped, "reply", "replies")
            parts.append(f"{skipped} skipped (sampled at random, or without token ids)")
        return ", ".join(parts) + "."


async def replay_greedy(trajectory: Trajectory, engine: Engine) -> int:
    """Compare every greedy reply that has token ids with what the engine chooses now."""
    state, found = ConversationState(), Comparison()
    grammars = dict(_grammars(trajectory))
    for stored in active_events(trajectory, whole=True):
        event = stored.event
        if isinstance(event, Reply) and not event.discarded:
            prefix = state.system.token_ids if state.system else None
            if not _greedy(event) or prefix is None or state.token_ids is None:
                found.skipped += 1
            else:
                prompt = [*prefix, *state.token_ids, *(event.prompt_token_ids or ())]
                verdict = await _verify_reply(engine, state, event, prompt, grammars, found)
                write_line(f"e{stored.seq}: {verdict}")
        state.apply(stored)
    if not found.replies:
        sys.stderr.write("Nothing to verify: this session has no greedy replies with token ids.\n")
        return int(ExitCode.FAILED)
    write_line(found.summary())
    return int(ExitCode.FAILED if found.wrong or found.changed else ExitCode.DONE)


def _grammars(trajectory: Trajectory) -> Iterator[tuple[str, Grammar]]:
    from laguna_agent.models.chat.chat_format import Grammar

    for stored in trajectory.of_type("grammar_used"):
        if isinstance(used := stored.event, GrammarUsed):
            tokens, patterns = tuple(used.trigger_tokens), tuple(used.trigger_patterns)
            yield used.digest, Grammar(used.gbnf, used.root, used.lazy, tokens, patterns)


def _greedy(reply: Reply) -> bool:
    sampled = reply.temperature == 0 and not reply.composed
    return sampled and bool(reply.token_ids) and reply.prompt_token_ids is not None


async def _verify_reply(
    engine: Engine,
    state: ConversationState,
    reply: Reply,
    prompt: list[int],
    grammars: dict[str, Grammar],
    found: Comparison,
) -> str:
    """Verify one reply and add it to `found`; returns the verdict on it."""
    from laguna_agent.models.conversation import Sampling
    from laguna_agent.models.engine.interface import EngineRequest

    wanted = reply.token_ids or []
    found.replies += 1
    found.tokens += len(wanted)
    if reply.grammar is not None and reply.grammar not in grammars:
        found.wrong += len(wanted)
        return f"its grammar {reply.grammar} is not on record"
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
    left = len(wanted) - len(scores)  # the grammar cannot continue past a token that it refuses
    found.wrong += len(wrong) + left
    found.close += close
    if wrong:
        return await _difference(engine, scores, wrong, len(wrong) + left, len(wanted))
    changed = await _changed(engine, state, reply)
    if changed:
        found.changed += 1
        return f"its tokens are the same, but {changed} is not what they spell"
    return "the same" + f" ({close} of {len(wanted)} tokens too close to call)" * bool(close)


async def _difference(
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
    """Which text is not what the tokens spell; empty when all are."""
    spelled = _folded(await engine.detokenize(reply.token_ids or []))
    texts = [*reply.text.split("\n"), *reply.thinking.split("\n")]
    if any(_folded(line) not in spelled for line in texts):
        return "its text"
    if any(_folded(call.raw) not in spelled for call in reply.tool_calls):
        return "a call"
    read = _folded(await engine.detokenize(reply.prompt_token_ids or []))
    for item in state.pending:
        if item.seq <= state.epoch_seq:  # a new epoch may hold only a part of it
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
    """Text with white space folded and invalid characters replaced, as tokens keep it."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
