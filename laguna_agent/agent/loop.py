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

from laguna_agent.agent.asking import ask
from laguna_agent.agent.attempts import Attempts
from laguna_agent.agent.calls import Calls
from laguna_agent.agent.checking import Checking
from laguna_agent.agent.opening import open_conversation
from laguna_agent.agent.state import Agent
from laguna_agent.agent.telling import tell
from laguna_agent.agent.watchdog import Watchdog
from laguna_agent.errors import ContextFullError, LagunaError
from laguna_agent.events import (
    Event,
    Reply,
    Status,
    StepStarted,
    SystemNote,
    TurnFinished,
    TurnStarted,
    Usage,
    UserMessage,
)
from laguna_agent.models.base import Message


@dataclass
class Turn:
    """What is counted and decided in one turn."""

    agent: Agent
    message: UserMessage
    checking: Checking
    attempts: Attempts
    watchdog: Watchdog = field(default_factory=Watchdog)
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
    asyncio.CancelledError out of the generator as usual.
    """
    agent.turns += 1
    checking = Checking(agent, message.text)
    turn = Turn(agent, message, checking, Attempts(agent, checking))
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
    yield turn.finished()


async def _open(turn: Turn) -> AsyncGenerator[Event, None]:
    """Say what the user said, with what should be known beside it."""
    agent = turn.agent
    async with aclosing(turn.checking.begin()) as events:
        async for event in events:
            yield event
    message, turn.attempts.shown = await open_conversation(agent, turn.message, turn.checking)
    said = await agent.hooks.on_prompt(message.text) if agent.hooks is not None else None
    if said is not None and said.deny is not None:
        turn.end("denied", error=f"a hook refused this prompt: {said.deny}")
    yield message
    agent.unsaid.append(agent.message_of(message))
    for event in said.notices if said is not None else ():
        yield event
    for text in said.add if said is not None else ():
        note = agent.pack.text("hook.md", text=text)
        yield SystemNote(text=note, reason="hook")
        agent.unsaid.append(Message(role="user", content=note))
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
        note = agent.pack.text("hook.md", text=said.send_on)
        yield SystemNote(text=note, reason="hook")
        async with aclosing(tell(agent, [Message(role="user", content=note)])) as events:
            async for event in events:
                yield event


async def _step(turn: Turn) -> AsyncGenerator[Event, None]:
    """One reply and what it calls."""
    agent = turn.agent
    if _limit_reached(turn):
        return
    while agent.steering:  # what the user typed in the meantime
        message = agent.steering.popleft()
        yield message
        agent.unsaid.append(agent.message_of(message))
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
        turn.watchdog = Watchdog()
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
    calls = Calls(agent, reply.tool_calls, turn.checking)
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


async def _after_calls(turn: Turn, calls: Calls) -> None:
    """Count what the calls did."""
    turn.denied += calls.denied
    turn.stopped = calls.denied == len(calls.calls)
    for call, result in zip(calls.calls, calls.results, strict=True):
        turn.note_changed(result.files_changed)
        tool = turn.agent.tools.get(call.name)
        turn.watchdog.saw(
            call,
            result.content,
            changed=bool(result.files_changed),
            command=tool is not None and tool.kind == "execute",
        )


async def _conclude(turn: Turn, calls: Calls) -> AsyncGenerator[Event, None]:
    """Decide whether the turn is over; if not, append the results and what should be said."""
    agent, checking = turn.agent, turn.checking
    agent.unsaid += calls.messages()
    if calls.finished is not None:
        turn.note_changed(await checking.files_changed())
        turn.end("done", calls.finished.content)
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
        turn.watchdog = Watchdog()
        return
    circle, note = turn.watchdog.circling(), ""
    if circle is not None:
        if turn.nudges >= 2:
            turn.end("limit", error=f"nothing new happens: {circle}; say what to try instead")
            return
        turn.nudges += 1
        note = agent.pack.text("repeated.md", circle=circle, tool=calls.calls[-1].name)
    for text, reason in _notes(turn, calls, note):
        agent.unsaid.append(Message(role="user", content=text))
        yield SystemNote(text=text, reason=reason)
    async with aclosing(tell(agent)) as events:
        async for event in events:
            yield event


def _notes(turn: Turn, calls: Calls, note: str) -> list[tuple[str, str]]:
    notes = [(note, "loop")] if note else []
    pack = turn.agent.pack
    notes += [(text, "instructions") for text in _instructions_met(turn.agent, calls)]
    notes += [(pack.text("hook.md", text=text), "hook") for text in calls.notes]
    reminders = turn.checking.reminders(turn.steps, calls.results)
    return [*notes, *((text, "reminder") for text in reminders)]


def _instructions_met(agent: Agent, calls: Calls) -> list[str]:
    """Instructions of the folders that these calls came into, each told once."""
    paths = [call.arguments.get("path") for call in calls.calls]
    if agent.instructions is None:
        return []
    near = [
        agent.instructions.near(agent.context.workspace / p) for p in paths if isinstance(p, str)
    ]
    return [text for text in near if text]


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
