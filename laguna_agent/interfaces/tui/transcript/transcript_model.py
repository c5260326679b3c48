"""The transcript as data: session events added up to entries, without how they look.

Entries can be read again from the stored session, so only the end of a long one is in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from laguna_agent.interfaces.phrases import note_title, short_summary
from laguna_agent.interfaces.tui.reference import in_the_interface
from laguna_agent.plurals import counted

if TYPE_CHECKING:
    from laguna_agent import events as e
    from laguna_agent.trajectory.codec import StoredEvent

Kind = Literal["banner", "user", "answer", "thinking", "tool", "notice", "end"]
State = Literal["", "running", "ok", "failed", "warning", "error"]
LIVE_CHARS = 40_000
"""Characters of a running tool's output that are kept, from its end."""


@dataclass(eq=False)
class Entry:
    """One item of the transcript. `version` changes whenever its look does."""

    kind: Kind
    title: str = ""
    """One line: the tool and its target."""
    command: str = ""
    """The whole command, where the title is only its first line."""
    body: str = ""
    summary: str = ""
    diff: str = ""
    state: State = ""
    name: str = ""
    seq: int = 0
    """Number of the event it started with; 0 for one that is not stored."""
    duration_s: float = 0.0
    is_open: bool | None = None
    """Whether the user expanded or collapsed it; None: the default of its kind."""
    is_cut: bool = False
    """Whether the start of its body was left out: there was too much of it."""
    spaced: bool = False
    """Whether an empty line separates it from the entry above."""
    version: int = 0

    @property
    def text(self) -> str:
        """The text that is copied and searched."""
        titled = self.kind in ("tool", "notice", "end")
        parts = [self.command or self.title, self.body] if titled else [self.body]
        if self.diff:
            parts.append(self.diff)
        return "\n".join(part for part in parts if part)


@dataclass
class TranscriptModel:
    """Turns events into entries and reports each one that is added, changed or removed."""

    added: Callable[[Entry], None]
    changed: Callable[[Entry], None]
    removed: Callable[[Entry], None]
    seq: int = 0
    last_answer: str = ""
    _summarising: bool = False
    """Whether the model writes a summary."""
    _live: dict[str, Entry] = field(default_factory=dict)
    """Entries still being written: `answer`, `thinking`, tool calls and commands by id."""
    _unfinished: dict[str, int] = field(default_factory=dict)
    """Characters of the unfinished line at the end of a command's output, by its key."""
    _commands: dict[str, str] = field(default_factory=dict)
    """Multi-line commands of calls that have not finished, by call id."""
    _latest: deque[Entry] = field(default_factory=lambda: deque(maxlen=8))
    _pending: Entry | None = None
    """The user's message until the session records it."""
    _since_pending: list[Entry] = field(default_factory=list)
    """Entries added while it is pending: a check that runs first."""

    def apply(self, event: e.Event, seq: int | None = None) -> None:
        """Add one event. Without `seq`, a stored event has the next number."""
        if seq is not None:
            self.seq = seq
        elif not event.transient:
            self.seq += 1
        match event.type:
            case "user_message":
                self._user_message(event)
            case "system_note":
                self._system_note(event)
            case "notice":
                self.add_notice(event.text, "" if event.level == "info" else event.level)
            case "engine_restarted":
                self._restarted(event)
            case "compacted":
                self._compacted(event)
            case "rewound":
                self.add_notice("rewound to here" + (", files restored" if event.code else ""))
            case "turn_finished":
                self._turn_finished(event)
            case "thinking_delta":
                self._append_delta("thinking", event.text)
            case "text_delta":
                self._append_delta("answer", event.text)
            case "reply":
                self._reply(event)
            case "tool_started":
                self._tool_started(event)
            case "tool_output":
                self._tool_output(event)
            case "tool_finished":
                self._tool_finished(event)
            case "check_ran":
                self._check_ran(event)
            case _:
                pass

    def replay(self, stored: Iterable[StoredEvent]) -> None:
        """Add stored events."""
        for item in stored:
            self.apply(item.event, item.seq)
        self.end_live_entries()

    def end_live_entries(self) -> None:
        """Mark what still runs as interrupted: nothing runs any more."""
        for entry in list(self._live.values()):
            if entry.state == "running":
                entry.state, entry.summary = "failed", entry.summary or "interrupted"
                self._mark_changed(entry)
        self._live.clear()
        self._commands.clear()
        self._summarising = False

    def add_notice(self, text: str, state: State = "") -> None:
        """Add a notice, which names the interface's own commands."""
        self._add(Entry("notice", title=in_the_interface(text), state=state))

    def add_pending_message(self, text: str) -> None:
        """Show the user's message before the session records it, which it does after its check."""
        self._pending = self._add(Entry("user", body=text, name="user"))
        self._since_pending.clear()

    def remove_pending_message(self) -> bool:
        """Remove a message that the session never recorded; False if there is none."""
        entry, self._pending = self._pending, None
        if entry is not None:
            self._remove(entry)
        return entry is not None

    # --- events of a session ---------------------------------------------------------------

    def _user_message(self, event: e.UserMessage) -> None:
        if self._pending is not None and event.origin != "steer":
            # Rewinding to before the message removes all of these.
            for entry in (self._pending, *self._since_pending):
                entry.seq = self.seq
            self._pending.body = event.text
            self._mark_changed(self._pending)
            self._pending = None
            return
        self._add(Entry("user", body=event.text, name=event.origin))

    def _system_note(self, event: e.SystemNote) -> None:
        self._summarising = event.reason == "compaction"
        self._add(Entry("notice", title=note_title(event.reason), body=event.text))

    def _restarted(self, event: e.EngineRestarted) -> None:
        if not event.server:
            self.add_notice(f"the engine restarted: {event.reason}", "warning")
            return
        title = f"asked the server again (try {event.attempt + 1}): {event.reason}"
        last = self._latest[-1] if self._latest else None
        if last is not None and last.name == "retry" and event.attempt > 1:
            last.title = title  # the tries of one request are one line
            self._mark_changed(last)
        else:
            self._add(Entry("notice", title=title, state="warning", name="retry"))

    def _compacted(self, event: e.Compacted) -> None:
        before, after = f"{event.tokens_before:,}", f"{event.tokens_after:,}"
        title = f"summarised the conversation: {before} tokens became {after}"
        left_out = f"Left out: {', '.join(event.dropped)}.\n\n" if event.dropped else ""
        self._add(Entry("notice", title=title, body=left_out + event.summary, name="compacted"))

    def _turn_finished(self, event: e.TurnFinished) -> None:
        self.end_live_entries()
        summary = event.summary.strip()
        if summary and summary != self.last_answer.strip():
            self.last_answer = summary
            self._add(Entry("answer", body=summary))
        ok = event.status == "done"
        entry = Entry("end", title=event.status, state="ok" if ok else "failed")
        entry.body = "" if ok or event.status == "interrupted" else (event.error or "")
        entry.duration_s = event.worked_s
        parts = [counted(event.steps, "step")] if event.steps else []
        if event.files_changed:
            parts.append(f"{counted(len(event.files_changed), 'file')} changed")
        usage = event.usage
        if usage.completion_tokens:
            parts.append(f"{usage.completion_tokens:,} tokens")
        if usage.prompt_tokens and usage.reused_tokens:
            share = round(100 * usage.reused_tokens / usage.prompt_tokens)
            parts.append(f"{share}% reused")
        entry.summary = " · ".join(parts)
        # An answer may end with a table or code, which the line must not seem to belong to.
        entry.spaced = not self._latest or self._latest[-1].kind == "answer"
        self._add(entry)

    # --- events of the model ---------------------------------------------------------------

    def _append_delta(self, kind: Literal["thinking", "answer"], text: str) -> None:
        if self._summarising:  # the summary is shown when it is complete
            return
        entry = self._live.get(kind)
        if entry is None:
            self._live[kind] = self._add(Entry(kind, body=text, state="running"))
            return
        entry.body += text
        self._mark_changed(entry)

    def _reply(self, event: e.Reply) -> None:
        if self._summarising:
            self._summarising = False
            return
        for call in event.tool_calls:
            if isinstance(command := call.arguments.get("command"), str) and "\n" in command:
                self._commands[call.id] = f"$ {command.strip()}"
        self._finish_text("thinking", event.thinking, event)
        self._finish_text("answer", event.text, event)
        if event.discarded and not event.side_by_side:
            full = event.finish_reason in ("length", "context_full")
            why = "the context was full" if full else "the model repeated itself"
            self.add_notice(f"{why}; asking again")
        elif event.text.strip() and not event.discarded:
            self.last_answer = event.text
        if event.miss is not None and event.usage.prefilled_tokens > 256:
            tokens = f"{event.usage.prefilled_tokens:,} tokens"
            self.add_notice(f"read {tokens} again: {event.miss.reason}")

    def _finish_text(self, kind: Literal["thinking", "answer"], text: str, reply: e.Reply) -> None:
        """Replace the streamed text with that of the whole reply."""
        entry = self._live.pop(kind, None)
        if reply.discarded or not text.strip():
            if entry is not None:
                self._remove(entry)
            return
        if entry is None:
            entry = self._add(Entry(kind, body=text))
        entry.body, entry.state, entry.seq = text, "", self.seq
        entry.duration_s = reply.timings.decode_s
        self._mark_changed(entry)

    # --- events of tools -------------------------------------------------------------------

    def _tool_started(self, event: e.ToolStarted) -> None:
        entry = Entry("tool", title=event.title, name=event.name, state="running")
        entry.command = self._commands.get(event.call_id, "")
        self._live[event.call_id] = self._add(entry)

    def _tool_output(self, event: e.ToolOutput) -> None:
        if (entry := self._live.get(event.call_id)) is not None:
            entry.body = (entry.body + event.text)[-LIVE_CHARS:]
            self._mark_changed(entry)

    def _tool_finished(self, event: e.ToolFinished) -> None:
        entry = self._live.pop(event.call_id, None)
        command = self._commands.pop(event.call_id, "")
        if event.name == "done" and event.ok:
            if entry is not None:  # its content is the turn's summary
                self._remove(entry)
            return
        if entry is None:
            entry = self._add(Entry("tool", title=event.title or event.name, name=event.name))
        entry.title, entry.command = event.title or entry.title, command
        entry.body, entry.diff = event.content, event.diff
        entry.summary = short_summary(entry.title, event.summary)
        entry.state = "ok" if event.ok else "failed"
        entry.duration_s = event.duration_s
        if event.denied:  # the summary says why; the rest is for the model
            entry.is_open = False
        self._mark_changed(entry)

    def _check_ran(self, event: e.CheckRan) -> None:
        entry = Entry("tool", title=f"check `{event.command}`", name="check", body=event.output)
        passed = event.exit_code == 0
        entry.state = "ok" if passed else "failed"
        entry.summary = "passed" if passed else f"exit {event.exit_code}"
        entry.duration_s = event.duration_s
        self._add(entry)

    # --- the user's own commands -----------------------------------------------------------

    def start_shell_command(self, key: str, command: str) -> None:
        """Add a command that the user runs."""
        entry = Entry("tool", title=command, name="!", state="running", is_open=True)
        self._live[key] = self._add(entry)

    def add_shell_output(self, key: str, text: str, unfinished: str) -> None:
        """Add output of the command; the next one replaces the unfinished line at its end."""
        entry = self._live.get(key)
        if entry is None:
            return
        whole = entry.body[: len(entry.body) - self._unfinished.get(key, 0)]
        entry.is_cut |= len(whole) + len(text) > LIVE_CHARS
        entry.body = (whole + text)[-LIVE_CHARS:] + unfinished
        self._unfinished[key] = len(unfinished)
        self._mark_changed(entry)

    def end_shell_command(
        self, key: str, exit_code: int | None, *, drew_screen: bool
    ) -> Entry | None:
        """The command has ended: with an exit code, or because the user ended it."""
        entry = self._live.pop(key, None)
        self._unfinished.pop(key, None)
        if entry is None:
            return None
        entry.state = "ok" if exit_code == 0 else "failed"
        ended = "interrupted" if exit_code is None else f"exit {exit_code}" if exit_code else ""
        where = "its screen is not recorded" if drew_screen else ""
        entry.summary = ", ".join(filter(None, [where, ended]))
        self._mark_changed(entry)
        return entry

    # --- entries ---------------------------------------------------------------------------

    def _add(self, entry: Entry) -> Entry:
        entry.seq = self.seq
        if self._pending is not None:
            self._since_pending.append(entry)
        self._latest.append(entry)
        self.added(entry)
        return entry

    def _remove(self, entry: Entry) -> None:
        if entry in self._latest:
            self._latest.remove(entry)
        self.removed(entry)

    def _mark_changed(self, entry: Entry) -> None:
        entry.version += 1
        self.changed(entry)
