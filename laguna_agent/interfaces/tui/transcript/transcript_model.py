"""What stands in the transcript: events added up to entries, without a thought of how they look.

An entry can be shown again from the record, so only the end of a long session is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from laguna_agent.interfaces.phrases import short_summary

if TYPE_CHECKING:
    from laguna_agent import events as e
    from laguna_agent.trajectory.codec import StoredEvent

Kind = Literal["banner", "user", "answer", "thinking", "tool", "notice", "end"]
State = Literal["", "running", "ok", "failed", "warning", "error"]
LIVE_CHARS = 40_000
"""Characters of a running tool's output that are kept; its end is what matters."""


@dataclass(eq=False)
class Entry:
    """One thing in the transcript. `version` changes whenever its look does."""

    kind: Kind
    title: str = ""
    """One line: what, on what."""
    asked: str = ""
    """The whole of a command, where the title is only its beginning."""
    body: str = ""
    summary: str = ""
    diff: str = ""
    state: State = ""
    name: str = ""
    seq: int = 0
    """Number of the event it began with; 0 while that is not on record."""
    duration_s: float = 0.0
    is_open: bool | None = None
    """Whether a person opened or closed it; None: as it is by default."""
    apart: bool = False
    """Whether an empty line stands above it, for what has one only at times."""
    version: int = 0

    @property
    def text(self) -> str:
        """What is copied and searched."""
        named = self.kind in ("tool", "notice", "end")
        parts = [self.asked or self.title, self.body] if named else [self.body]
        if self.diff:
            parts.append(self.diff)
        return "\n".join(part for part in parts if part)


@dataclass
class TranscriptModel:
    """Turns events into entries. `added` and `changed` are told of each."""

    added: Callable[[Entry], None]
    changed: Callable[[Entry], None]
    removed: Callable[[Entry], None]
    seq: int = 0
    last_answer: str = ""
    _summarising: bool = False
    """Whether what the model writes is a summary that was asked for."""
    _live: dict[str, Entry] = field(default_factory=dict)
    """Entries that are still being written: `answer`, `thinking`, calls by id."""
    _commands: dict[str, str] = field(default_factory=dict)
    """Commands of calls that have not ended, by id."""
    _latest: deque[Entry] = field(default_factory=lambda: deque(maxlen=8))
    _said: Entry | None = None
    """What a person just said, until the session has taken it."""
    _early: list[Entry] = field(default_factory=list)
    """What came between the two: a check that ran first."""

    def take(self, event: e.Event, seq: int | None = None) -> None:
        """Add one event. Without `seq`, one that is stored has the next number."""
        if seq is not None:
            self.seq = seq
        elif not event.transient:
            self.seq += 1
        take: Any = getattr(self, f"_{event.type}", None)
        if take is not None:
            take(event)

    def replay(self, stored: Iterable[StoredEvent]) -> None:
        """Add events of the past."""
        for item in stored:
            self.take(item.event, item.seq)
        self.settle()

    def settle(self) -> None:
        """Nothing runs any more: close what was left open."""
        for entry in list(self._live.values()):
            if entry.state == "running":
                entry.state, entry.summary = "failed", entry.summary or "interrupted"
                self._touch(entry)
        self._live.clear()
        self._commands.clear()
        self._summarising = False

    def note(self, text: str, state: State = "") -> Entry:
        """Say something that is not an event."""
        return self._add(Entry("notice", title=text, state=state))

    def said(self, text: str) -> None:
        """Show at once what a person said; the session takes it when its check has run."""
        self._said = self._add(Entry("user", body=text, name="user"))
        self._early.clear()

    def unsaid(self) -> bool:
        """Take away what the session never took, as it was stopped before; True if there was."""
        entry, self._said = self._said, None
        if entry is not None:
            self._take_away(entry)
        return entry is not None

    # --- of a session ----------------------------------------------------------------------

    def _user_message(self, event: e.UserMessage) -> None:
        if self._said is not None and event.origin != "steer":
            # Rewinding to before the message takes all of it away.
            for early in (self._said, *self._early):
                early.seq = self.seq
            self._said.body = event.text
            self._touch(self._said)
            self._said = None
            return
        self._add(Entry("user", body=event.text, name=event.origin))

    def _system_note(self, event: e.SystemNote) -> None:
        self._summarising = event.reason == "compaction"
        what = "asked for a summary" if self._summarising else f"told the model ({event.reason})"
        self._add(Entry("notice", title=what, body=event.text))

    def _notice(self, event: e.Notice) -> None:
        state: State = "" if event.level == "info" else event.level
        self.note(event.text, state)

    def _engine_restarted(self, event: e.EngineRestarted) -> None:
        self.note(f"the engine was started again: {event.reason}", "warning")

    def _compacted(self, event: e.Compacted) -> None:
        before, after = f"{event.tokens_before:,}", f"{event.tokens_after:,}"
        title = f"summarised: {before} tokens became {after}"
        left_out = f"Left out: {', '.join(event.dropped)}.\n\n" if event.dropped else ""
        self._add(Entry("notice", title=title, body=left_out + event.summary, name="compacted"))

    def _rewound(self, event: e.Rewound) -> None:
        self.note("went back to here" + (", files restored" if event.code else ""))

    def _turn_finished(self, event: e.TurnFinished) -> None:
        self.settle()
        summary = event.summary.strip()
        if summary and summary != self.last_answer.strip():
            self.last_answer = summary
            self._add(Entry("answer", body=summary))
        ok = event.status == "done"
        entry = Entry("end", title=event.status, state="ok" if ok else "failed")
        entry.body = "" if ok or event.status == "interrupted" else (event.error or "")
        entry.duration_s = event.duration_s
        parts = [_count(event.steps, "step")] if event.steps else []
        if event.files_changed:
            parts.append(f"{_count(len(event.files_changed), 'file')} changed")
        usage = event.usage
        if usage.completion_tokens:
            parts.append(f"{usage.completion_tokens:,} tokens")
        if usage.prompt_tokens and usage.reused_tokens:
            share = round(100 * usage.reused_tokens / usage.prompt_tokens)
            parts.append(f"{share} % reused")
        entry.summary = " · ".join(parts)
        # What a model says at the end may be a table or code: the line is no part of it.
        entry.apart = not self._latest or self._latest[-1].kind == "answer"
        self._add(entry)

    # --- of the model ----------------------------------------------------------------------

    def _thinking_delta(self, event: e.ThinkingDelta) -> None:
        self._grow("thinking", event.text)

    def _text_delta(self, event: e.TextDelta) -> None:
        self._grow("answer", event.text)

    def _grow(self, kind: Literal["thinking", "answer"], text: str) -> None:
        if self._summarising:  # shown when it is whole
            return
        entry = self._live.get(kind)
        if entry is None:
            entry = self._live[kind] = self._add(Entry(kind, body=text, state="running"))
            return
        entry.body += text
        self._touch(entry)

    def _reply(self, event: e.Reply) -> None:
        if self._summarising:
            self._summarising = False
            return
        for call in event.tool_calls:
            if isinstance(command := call.arguments.get("command"), str) and "\n" in command:
                self._commands[call.id] = f"$ {command.strip()}"
        for kind, text in (("thinking", event.thinking), ("answer", event.text)):
            entry = self._live.pop(kind, None)
            if event.discarded or not text.strip():
                if entry is not None:
                    self._take_away(entry)
                continue
            if entry is None:
                entry = self._add(Entry(kind, body=text))  # type: ignore[arg-type]  # one of both
            entry.body, entry.state, entry.seq = text, "", self.seq
            entry.duration_s = event.timings.decode_s
            self._touch(entry)
        if event.discarded:
            self.note("the model repeated itself; asked once more")
        elif event.text.strip():
            self.last_answer = event.text
        if event.miss is not None and event.usage.prefilled_tokens > 256:
            self.note(f"{event.usage.prefilled_tokens:,} tokens read again: {event.miss.reason}")

    # --- of tools --------------------------------------------------------------------------

    def _tool_started(self, event: e.ToolStarted) -> None:
        entry = Entry("tool", title=event.title, name=event.name, state="running")
        entry.asked = self._commands.get(event.call_id, "")
        self._live[event.call_id] = self._add(entry)

    def _tool_output(self, event: e.ToolOutput) -> None:
        if (entry := self._live.get(event.call_id)) is not None:
            entry.body = (entry.body + event.text)[-LIVE_CHARS:]
            self._touch(entry)

    def _tool_finished(self, event: e.ToolFinished) -> None:
        entry, asked = self._live.pop(event.call_id, None), self._commands.pop(event.call_id, "")
        if event.name == "done" and event.ok:
            if entry is not None:  # its content is the turn's summary
                self._take_away(entry)
            return
        if entry is None:
            entry = self._add(Entry("tool", title=event.title or event.name, name=event.name))
        entry.title, entry.asked = event.title or entry.title, asked
        entry.body, entry.diff = event.content, event.diff
        entry.summary = short_summary(entry.title, event.summary)
        entry.state = "ok" if event.ok else "failed"
        entry.duration_s = event.duration_s
        self._touch(entry)

    def _check_ran(self, event: e.CheckRan) -> None:
        entry = Entry("tool", title=f"check `{event.command}`", name="check", body=event.output)
        passed = event.exit_code == 0
        entry.state = "ok" if passed else "failed"
        entry.summary = "passes" if passed else f"exit {event.exit_code}"
        entry.duration_s = event.duration_s
        self._add(entry)

    # --- commands of the person ------------------------------------------------------------

    def shell_started(self, key: str, command: str) -> None:
        """A command that the person runs."""
        entry = Entry("tool", title=command, name="!", state="running", is_open=True)
        self._live[key] = self._add(entry)

    def shell_said(self, key: str, text: str, exit_code: int | None) -> Entry | None:
        """Its output, or its end; returns the entry once it ended."""
        entry = self._live.get(key)
        if entry is None:
            return None
        entry.body = (entry.body + text)[-LIVE_CHARS:]
        if exit_code is not None:
            del self._live[key]
            entry.state = "ok" if exit_code == 0 else "failed"
            entry.summary = "" if exit_code == 0 else f"exit {exit_code}"
            if exit_code < 0:
                entry.summary = "interrupted"
        self._touch(entry)
        return entry if exit_code is not None else None

    # --- within ----------------------------------------------------------------------------

    def _add(self, entry: Entry) -> Entry:
        entry.seq = self.seq
        if self._said is not None:
            self._early.append(entry)
        self._latest.append(entry)
        self.added(entry)
        return entry

    def _take_away(self, entry: Entry) -> None:
        if entry in self._latest:
            self._latest.remove(entry)
        self.removed(entry)

    def _touch(self, entry: Entry) -> None:
        entry.version += 1
        self.changed(entry)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
