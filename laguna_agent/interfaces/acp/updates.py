"""Turns the events of a session into updates that an editor shows.

The same for a turn that runs and for a record that is replayed: where no deltas came, a reply's
text is sent when it is complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acp import schema

from laguna_agent.events import (
    CheckRan,
    Compacted,
    EngineRestarted,
    Event,
    ModelLoading,
    Notice,
    PlanUpdated,
    PrefillProgress,
    Reply,
    RetryWait,
    SystemNote,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    TurnFinished,
    UserMessage,
)
from laguna_agent.interfaces.acp.content import code_content
from laguna_agent.interfaces.acp.tool_calls import (
    HIDDEN,
    finished_content,
    kind_of,
    locations_of,
    title_of,
)
from laguna_agent.interfaces.acp.waiting import WaitingCard
from laguna_agent.interfaces.progress import compacted_line
from laguna_agent.policy.sanitize import visible
from laguna_agent.trajectory.replay import COMPACTION

Send = Callable[[Any], None]
"""Sends one update of this session, after those before it."""
_OUTPUT_S = 0.25
"""Seconds between two updates of a running tool's output."""
_TAIL = 4_000
"""Characters of a running tool's output that are shown."""
_PLAN = {"pending": "pending", "active": "in_progress", "done": "completed"}


@dataclass
class _Call:
    """A tool call that the editor knows."""

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    output: str = ""
    shown_at: float = 0.0
    sent: int = 0
    """Characters of the output that were sent to a terminal of the editor."""


class UpdateStream:
    """Updates of one session. `start` is where relative paths start.

    `terminals`: the editor shows output of commands in terminals of its own, by `_meta`.
    """

    def __init__(self, send: Send, start: Path, *, terminals: bool) -> None:
        self._send = send
        self._start = start
        self._terminals = terminals
        self._waiting = WaitingCard(send)
        self._open: dict[str, _Call] = {}
        self._used: set[str] = set()
        self._streamed = False
        self._summarising = False
        self._last_text = ""
        self._glue = ""
        self._checks = 0

    def show(self, event: Event) -> None:
        """Send what an event changes."""
        if isinstance(event, ModelLoading | PrefillProgress | RetryWait):
            self._waiting.show(event)
            return
        self._waiting.end()
        match event:
            case UserMessage(text=text):
                self._chunk(schema.UserMessageChunk, "user_message_chunk", text)
            case SystemNote(reason=reason):
                self._summarising = reason == COMPACTION
            case ThinkingDelta(text=text):
                self._streamed = True
                self.think(text)
            case TextDelta(text=text):
                self._streamed = True
                self._write(text)
            case ToolCallDelta(id=call_id, name=name):
                if name and call_id not in self._open:
                    self._announce(ToolCall(id=call_id, name=name, arguments={}))
            case Reply():
                self._replied(event)
            case ToolStarted():
                self._update(event.call_id, status="in_progress", title=visible(event.title))
            case ToolOutput():
                self._show_output(event.call_id, event.text)
            case ToolFinished():
                self._finish(event)
            case PlanUpdated():
                self._plan(event)
            case CheckRan():
                self._check(event)
            case Notice():
                self._notice(event.level, event.text)
            case EngineRestarted(reason=reason):
                self._notice("warning", f"Trying again: {reason}")
            case Compacted():
                self._summarising = False
                self._notice("info", compacted_line(event))
            case TurnFinished():
                self._end(event)
            case _:
                pass

    # --- texts ------------------------------------------------------------------------------

    def think(self, text: str) -> None:
        """Send a part of what the model thinks, or what is not part of its answer."""
        self._chunk(schema.AgentThoughtChunk, "agent_thought_chunk", text)

    def say(self, text: str) -> None:
        """Send a paragraph of the answer."""
        self._chunk(schema.AgentMessageChunk, "agent_message_chunk", f"{self._glue}{text}")
        self._glue = "\n\n"

    def _write(self, text: str) -> None:
        if self._summarising:
            self.think(text)
            return
        if text.strip():
            self._last_text += text
            text, self._glue = self._glue + text, ""
        self._chunk(schema.AgentMessageChunk, "agent_message_chunk", text)

    def _chunk(self, kind: Callable[..., Any], name: str, text: str) -> None:
        if text:
            block = schema.TextContentBlock(type="text", text=text)
            self._send(kind(session_update=name, content=block))

    def _notice(self, level: str, text: str) -> None:
        if level == "info":
            self.think(f"{text}\n\n")
        else:
            self.say(f"> **{level.capitalize()}:** {visible(text)}")

    def _replied(self, reply: Reply) -> None:
        if not self._streamed:
            self.think(reply.thinking)
            self._write(reply.text)
        self._glue = "\n\n" if self._last_text.strip() or self._glue else ""
        known = {call.id for call in reply.tool_calls}
        for call_id in [c for c in self._open if reply.discarded or c not in known]:
            self._drop(call_id)
        if not reply.discarded:
            for call in reply.tool_calls:
                self._announce(call)
        self._streamed = False

    # --- tool calls -------------------------------------------------------------------------

    def call_id(self, call_id: str) -> str | None:
        """The id under which the editor knows a call."""
        known = self._open.get(call_id)
        return known.id if known is not None else None

    def announce(
        self, call_id: str, name: str, title: str, kind: schema.ToolKind | None = None
    ) -> str:
        """Make a call known that no reply has; returns the editor's id of it."""
        known = self._open[call_id] = _Call(self._unused(call_id), name)
        self._send(
            schema.ToolCallStart(
                session_update="tool_call", tool_call_id=known.id, title=title,
                kind=kind or kind_of(name), status="pending",
            )
        )  # fmt: skip
        return known.id

    def end(self, call_id: str, *, ok: bool) -> None:
        """End a call that `announce` made known."""
        self._update(call_id, status="completed" if ok else "failed")
        self._open.pop(call_id, None)

    def _announce(self, call: ToolCall) -> None:
        """Make a call known, or complete one that is known from its first words."""
        if call.name in HIDDEN:
            return
        known = self._open.get(call.id)
        if known is None:
            known = self._open[call.id] = _Call(self._unused(call.id), call.name)
            self._glue = ""
            start = schema.ToolCallStart(
                session_update="tool_call", tool_call_id=known.id, title=title_of(call),
                kind=kind_of(call.name), status="pending",
            )  # fmt: skip
            if self._in_terminal(known):
                start.content = [schema.TerminalToolCallContent(
                    type="terminal", terminal_id=known.id)]  # fmt: skip
                start.field_meta = {
                    "terminal_info": {"terminal_id": known.id, "cwd": str(self._start)}
                }
            if call.arguments:
                known.arguments = call.arguments
                start.raw_input = call.arguments
                start.locations = locations_of(call.arguments, self._start)
            self._send(start)
        elif call.arguments and not known.arguments:
            known.arguments = call.arguments
            self._update(
                call.id,
                title=title_of(call),
                raw_input=call.arguments,
                locations=locations_of(call.arguments, self._start),
            )

    def _unused(self, call_id: str) -> str:
        """An id that no call of this session has had: servers count theirs anew in each reply."""
        number, unused = 1, call_id
        while unused in self._used:
            number += 1
            unused = f"{call_id}-{number}"
        self._used.add(unused)
        return unused

    def _in_terminal(self, call: _Call) -> bool:
        return self._terminals and call.name == "shell"

    def _update(self, call_id: str, **fields: Any) -> None:
        known = self._open.get(call_id)
        if known is not None:
            update = schema.ToolCallProgress(
                session_update="tool_call_update", tool_call_id=known.id, **fields
            )
            self._send(update)

    def _show_output(self, call_id: str, text: str) -> None:
        known = self._open.get(call_id)
        if known is None:
            return
        known.output += text
        now = time.monotonic()
        if now - known.shown_at < _OUTPUT_S:
            return
        known.shown_at = now
        if self._in_terminal(known):
            self._send_output(known)
        else:
            known.output = known.output[-_TAIL:]
            self._update(call_id, content=[code_content(visible(known.output), "console")])

    def _send_output(self, known: _Call, exit_code: int | None = None, **fields: Any) -> None:
        """Send output to a terminal of the editor. It may hold control characters."""
        meta: dict[str, Any] = {}
        if known.output:
            text = known.output.replace("\n", "\r\n")
            meta["terminal_output"] = {"terminal_id": known.id, "data": text}
            known.sent += len(known.output)
            known.output = ""
        if exit_code is not None:
            meta["terminal_exit"] = {
                "terminal_id": known.id, "exit_code": exit_code, "signal": None
            }  # fmt: skip
        self._send(
            schema.ToolCallProgress(
                session_update="tool_call_update", tool_call_id=known.id, field_meta=meta, **fields
            )
        )

    def _finish(self, finished: ToolFinished) -> None:
        known = self._open.get(finished.call_id)
        if known is None:
            return
        output: dict[str, Any] = {"output": finished.content}
        if finished.exit_code is not None:
            output["exit_code"] = finished.exit_code
        if finished.output_file is not None:
            output["output_file"] = finished.output_file
        status = "completed" if finished.ok else "failed"
        if self._in_terminal(known):
            if not known.sent:
                known.output = visible(finished.content)
            code = finished.exit_code if finished.exit_code is not None else int(not finished.ok)
            self._send_output(known, code, status=status, raw_output=output)
        else:
            content, places = finished_content(finished, known.arguments, self._start)
            fields: dict[str, Any] = {"locations": places} if places else {}
            self._update(
                finished.call_id, status=status, content=content, raw_output=output, **fields
            )
        del self._open[finished.call_id]

    def _drop(self, call_id: str) -> None:
        """End a call that was never made or never ended."""
        self._update(call_id, status="failed")
        self._open.pop(call_id, None)

    def _check(self, event: CheckRan) -> None:
        self._checks += 1
        call_id = self._unused(f"check-{self._checks}")
        self._send(
            schema.ToolCallStart(
                session_update="tool_call",
                tool_call_id=call_id,
                title=visible(f"Check: $ {event.command}"),
                kind="execute",
                status="completed" if event.exit_code == 0 else "failed",
                content=[code_content(visible(event.output), "console")],
                raw_input={"command": event.command},
                raw_output={"output": event.output, "exit_code": event.exit_code},
            )
        )

    # --- plan and end -----------------------------------------------------------------------

    def _plan(self, event: PlanUpdated) -> None:
        entries = [
            schema.PlanEntry.model_validate(
                {"content": step.text, "priority": "medium", "status": _PLAN[step.status]}
            )
            for step in event.steps
            if step.status in _PLAN  # what was dropped is no longer part of it
        ]
        self._send(schema.AgentPlanUpdate(session_update="plan", entries=entries))

    def _end(self, finished: TurnFinished) -> None:
        if finished.summary and finished.summary.strip() not in self._last_text:
            self.say(finished.summary)
        if finished.status not in ("done", "interrupted", "error"):
            why = f": {finished.error}" if finished.error else ""
            self.say(f"> **{finished.status.capitalize()}**{visible(why)}")
        self.settle()

    def settle(self) -> None:
        """End what is open: the prompt is answered."""
        for call_id in list(self._open):
            self._drop(call_id)
        self._waiting.end()
        self._last_text = self._glue = ""
        self._streamed = self._summarising = False
