"""The planning loop: ask the model, run what it calls, tell it what came back, until it is done.

One turn is an async generator of events and reads top to bottom: open, then step after step until
there is an outcome. A turn ends when the model says so, when the task's check passes, when a limit
is reached, or when nothing new happens any more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.context.context_append import tell
from laguna_agent.agent.context.first_message import open_conversation
from laguna_agent.agent.context.system_notes import Notes, after_calls, before_turn, mode_changed
from laguna_agent.agent.generation import ask
from laguna_agent.agent.hooks import HookResult
from laguna_agent.agent.loop_detector import LoopDetector
from laguna_agent.agent.retries import Retries
from laguna_agent.agent.state import Agent
from laguna_agent.agent.tool_executor import ToolExecutor
from laguna_agent.errors import ContextFullError, LagunaError
from laguna_agent.events import (
    Event,
    Notice,
    Reply,
    Status,
    StepStarted,
    SystemNote,
    TurnFinished,
    TurnStarted,
    Usage,
    UserMessage,
)
from laguna_agent.models.conversation import Message


@dataclass
class Turn:
    """What is counted and decided in one turn."""

    agent: Agent
    message: UserMessage
    checking: CheckRunner
    attempts: Retries
    watchdog: LoopDetector = field(default_factory=LoopDetector)
    started: float = field(default_factory=time.monotonic)
    steps: int = 0
    usage: Usage = field(default_factory=Usage)
    changed: list[str] = field(default_factory=list)
    denied: int = 0
    stopped: bool = False
    """Whether all calls of the last reply were denied."""
    nudges: int = 0
    outcome: tuple[Status, str, str | None] | None = None
    """Status, summary, error."""

    def end(self, status: Status, summary: str = "", error: str | None = None) -> None:
        """Decide the outcome; the first decision stays."""
        if self.outcome is None:
            self.outcome = (status, summary, error)

    def note_changed(self, paths: list[str]) -> None:
        """Remember changed files, each once."""
        self.changed += [path for path in paths if path not in self.changed]

    def finished(self) -> TurnFinished:
        """The last event."""
        status, summary, error = self.outcome or ("error", "", "the turn ended without an outcome")
        if status in ("failed", "limit") and self.denied and not self.changed:
            status = "denied"
        return TurnFinished(
            status=status,
            summary=summary,
            error=error,
            steps=self.steps,
            duration_s=round(time.monotonic() - self.started, 3),
            usage=self.usage,
            files_changed=sorted(self.changed),
        )


async def run_turn(agent: Agent, message: UserMessage) -> AsyncGenerator[Event, None]:
    """One turn, from what the user said to a TurnFinished, which is always the last event.

    An expected failure (a LagunaError) ends the turn with status `error`; cancelling raises
    asyncio.CancelledError out of the generator as usual. How the files were left is recorded in
    any case.
    """
    agent.turns += 1
    checking = CheckRunner(agent, message.text)
    turn = Turn(agent, message, checking, Retries(agent, checking))
    yield TurnStarted(turn=agent.turns)
    try:
        async for event in _open(turn):
            yield event
        while turn.outcome is None:
            async for event in _step(turn):
                yield event
            async for event in _hooks_at_end(turn):
                yield event
    except ContextFullError as error:
        turn.end("limit", error=str(error))
    except LagunaError as error:
        turn.end("error", error=str(error))
    finally:
        await checking.leave()
    yield turn.finished()


async def _open(turn: Turn) -> AsyncGenerator[Event, None]:
    """Say what the user said, with what should be known beside it."""
    agent = turn.agent
    said = (
        await agent.hooks.on_prompt(turn.message.text) if agent.hooks is not None else HookResult()
    )
    for notice in said.notices:
        yield notice
    if said.deny is not None:  # the model never sees it
        turn.end("denied", error=f"a hook refused this prompt: {said.deny}")
        return
    async with aclosing(turn.checking.begin()) as events:
        async for event in events:
            yield event
    message, shown = await open_conversation(agent, turn.message, turn.checking)
    turn.attempts.shown = shown
    for note in _note(agent, before_turn(agent)):
        yield note
    yield message
    agent.unsaid.append(agent.message_of(message))
    for note in _note(agent, [(agent.pack.text("hook.md", text=t), "hook") for t in said.add]):
        yield note
    async with aclosing(tell(agent)) as events:
        async for event in events:
            yield event
    turn.attempts.begin()
    agent.on_epoch = turn.attempts.begin


async def _hooks_at_end(turn: Turn) -> AsyncGenerator[Event, None]:
    """Tell the hooks that the turn is about to end; one may send the agent on."""
    agent = turn.agent
    if turn.outcome is None or agent.hooks is None:
        return
    status, summary, _ = turn.outcome
    said = await agent.hooks.turn_end(status=status, summary=summary, files_changed=turn.changed)
    for notice in said.notices:
        yield notice
    if said.send_on is not None and status == "done":
        turn.outcome = None
        for note in _note(agent, [(agent.pack.text("hook.md", text=said.send_on), "hook")]):
            yield note
        async with aclosing(tell(agent)) as events:
            async for event in events:
                yield event


def _note(agent: Agent, notes: Notes) -> list[SystemNote]:
    """Events of notes, which go to the model with what is told next."""
    agent.unsaid += [Message(role="user", content=text) for text, _ in notes]
    return [SystemNote(text=text, reason=reason) for text, reason in notes]


async def _steer(agent: Agent) -> AsyncGenerator[Event, None]:
    """Put in what the user typed in the meantime."""
    while agent.steering:
        message = agent.steering.popleft()
        said = HookResult()
        if agent.hooks is not None:
            said = await agent.hooks.on_prompt(message.text, steered=True)
        for notice in said.notices:
            yield notice
        if said.deny is not None:
            yield Notice(level="warning", text=f"A hook refused what you typed: {said.deny}")
            continue
        yield message
        agent.unsaid.append(agent.message_of(message))
        for note in _note(agent, [(agent.pack.text("hook.md", text=t), "hook") for t in said.add]):
            yield note


async def _step(turn: Turn) -> AsyncGenerator[Event, None]:
    """One reply and what it calls."""
    agent = turn.agent
    if _limit_reached(turn):
        return
    async for event in _steer(agent):
        yield event
    for note in _note(agent, mode_changed(agent)):
        yield note
    async with aclosing(tell(agent)) as events:
        async for event in events:
            yield event
    turn.steps += 1
    yield StepStarted(step=turn.steps)
    reply: Reply | None = None
    async with aclosing(ask(agent, turn.watchdog, turn.attempts)) as events:
        async for event in events:
            yield event
            if isinstance(event, Reply):
                turn.usage = turn.usage.plus(event.usage)
                reply = None if event.discarded else event
    if reply is None and turn.attempts.stuck():
        async for event in turn.attempts.afresh():
            yield event
        turn.watchdog = LoopDetector()
        return
    if reply is None:
        turn.end(
            "limit",
            error="the model repeats itself and finds nothing else to do; say what to try instead",
        )
        return
    if not reply.tool_calls:
        async for event in _without_calls(turn, reply):
            yield event
        return
    calls = ToolExecutor(agent, reply.tool_calls, turn.checking)
    try:
        async with aclosing(calls.run()) as events:
            async for event in events:
                yield event
    except asyncio.CancelledError:
        agent.unsaid += calls.messages()  # of those that ended before
        raise
    await _after_calls(turn, calls)
    async with aclosing(_conclude(turn, calls)) as events:
        async for event in events:
            yield event


async def _after_calls(turn: Turn, calls: ToolExecutor) -> None:
    """Count what the calls did."""
    turn.denied += calls.denied
    turn.stopped = calls.denied == len(calls.calls)
    for call, result in zip(calls.calls, calls.results, strict=True):
        turn.note_changed(result.files_changed)
        if result is calls.finished:
            continue  # when a reminder holds the end back, the next one is no repetition
        tool = turn.agent.tools.get(call.name)
        turn.watchdog.saw(
            call,
            result.content,
            changed=bool(result.files_changed),
            command=tool is not None and tool.kind == "execute",
            again=bool(result.data.get("again")),
        )


async def _conclude(turn: Turn, calls: ToolExecutor) -> AsyncGenerator[Event, None]:
    """Decide whether the turn is over; if not, append the results and what should be said."""
    agent, checking = turn.agent, turn.checking
    agent.unsaid += calls.messages()
    if calls.finished is not None:
        async for event in _finish(turn, calls.finished.content):
            yield event
        return
    changed = any(result.files_changed for result in calls.results)
    if checking.due(changed=changed, ran=[call.name for call in calls.calls]):
        ran = await checking.run()
        yield ran
        if ran.exit_code == 0:
            turn.note_changed(await checking.files_changed())
            turn.end("done", checking.passed_summary(turn.changed))
            return
        turn.attempts.failed(calls.calls)
        if turn.attempts.spent:
            turn.end(
                "failed", error=f"`{ran.command}` still fails after {turn.attempts.limit} tries"
            )
            return
        async for event in turn.attempts.afresh():
            yield event
        turn.watchdog = LoopDetector()
        return
    circle, note = turn.watchdog.circling(), ""
    if circle is not None:
        if turn.nudges >= 2:
            turn.end("limit", error=f"nothing new happens: {circle}; say what to try instead")
            return
        turn.nudges += 1
        note = agent.pack.text("repeated.md", circle=circle, tool=calls.calls[-1].name)
    notes = after_calls(agent, calls, checking, steps=turn.steps, changed=turn.changed)
    for event in _note(agent, [*([(note, "loop")] if note else []), *notes]):
        yield event
    while agent.instructions is not None and agent.instructions.notices:
        yield agent.instructions.notices.pop(0)
    async with aclosing(tell(agent)) as events:
        async for event in events:
            yield event


async def _finish(turn: Turn, summary: str) -> AsyncGenerator[Event, None]:
    """End the turn as done, unless the pack has the model reminded of something before."""
    agent, checking = turn.agent, turn.checking
    held = [(text, "reminder") for text in checking.before_done(turn.steps)]
    for note in _note(agent, held):
        yield note
    if held:
        async with aclosing(tell(agent)) as events:
            async for event in events:
                yield event
        return
    turn.note_changed(await checking.files_changed())
    turn.end("done", summary)


async def _without_calls(turn: Turn, reply: Reply) -> AsyncGenerator[Event, None]:
    """A reply of text alone: an answer, or something to mend."""
    agent = turn.agent
    if (reply.error or reply.finish_reason == "length") and turn.attempts.stuck():
        async for event in turn.attempts.afresh():
            yield event
        return
    if reply.error is not None or reply.finish_reason == "length":
        problem = reply.error or ""
        text = (
            agent.pack.text("bad_call.md", error=problem)
            if problem
            else agent.pack.text("cut.md", limit=agent.limits.reply_tokens)
        )
    elif turn.checking.command is None or turn.checking.passed:
        if turn.stopped and agent.approver is None:
            turn.end("denied", reply.text, error="what the task needs was not allowed")
        elif turn.changed:
            async for event in _finish(turn, reply.text):
                yield event
        else:
            turn.end("done", reply.text)
        return
    elif agent.context.check is not None and turn.changed and turn.checking.may_run():
        ran = await turn.checking.run()
        yield ran
        if ran.exit_code == 0:
            turn.end("done", reply.text)
            return
        text = turn.checking.failed_note(ran)
    else:
        text = agent.pack.text("no_call.md")
    turn.nudges += 1
    if turn.nudges > 3:
        if turn.stopped and agent.approver is None:
            turn.end("denied", reply.text, error="what the task needs was not allowed")
            return
        turn.end("failed", reply.text, error="the model stopped without finishing the task")
        return
    yield SystemNote(text=text, reason="no usable call")
    async with aclosing(tell(agent, [Message(role="user", content=text)])) as events:
        async for event in events:
            yield event


def _limit_reached(turn: Turn) -> bool:
    limits, elapsed = turn.agent.limits, time.monotonic() - turn.started
    if turn.steps >= limits.steps:
        turn.end("limit", error=f"{limits.steps} steps were not enough (--max-steps)")
    elif limits.tokens is not None and turn.usage.completion_tokens >= limits.tokens:
        turn.end("limit", error=f"{limits.tokens} tokens were not enough (--max-tokens)")
    elif limits.timeout is not None and elapsed >= limits.timeout:
        turn.end("limit", error=f"{limits.timeout:g} seconds were not enough (--timeout)")
    return turn.outcome is not None
