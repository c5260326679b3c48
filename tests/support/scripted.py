"""Sessions with a scripted model: the edge at which the loop is tested."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from laguna_agent.actions import Mode
from laguna_agent.agent.approval import Approver
from laguna_agent.agent.model_loading import LoadedModel
from laguna_agent.agent.session import Session
from laguna_agent.agent.settings import Settings
from laguna_agent.config import load_config
from laguna_agent.errors import ContextFullError
from laguna_agent.events import (
    Event,
    ModelEvent,
    Reply,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolFinished,
    TurnFinished,
    Usage,
)
from laguna_agent.interfaces.headless import Output, run_task
from laguna_agent.models.conversation import GenerateOptions, Message, ModelInfo, ToolSpec
from laguna_agent.prompts.loader.pack import load_pack

Script = Sequence[Reply | Callable[[], Reply]]


def call(name: str, **arguments: Any) -> Reply:
    """A reply that makes one call."""
    return calls((name, arguments))


def calls(*made: tuple[str, dict[str, Any]]) -> Reply:
    """A reply that makes several calls."""
    return Reply(
        tool_calls=[
            ToolCall(id=f"call_{next(_ids)}", name=name, arguments=arguments)
            for name, arguments in made
        ],
        finish_reason="tool_calls",
    )


_ids = itertools.count(1)


class ScriptedConversation:
    """Gives replies in order and keeps everything that is appended. The last reply repeats."""

    def __init__(self, script: Script, *, limit: int = 32_768) -> None:
        self.info = ModelInfo(name="scripted", format="scripted", context=limit, sha256="5" * 64)
        self.script = list(script)
        self.entries: list[Message | Reply] = []
        self.options: list[GenerateOptions] = []
        self.system = ""
        self.tools: list[ToolSpec] = []
        self.played = 0
        self.written = ""
        """The reply that streams, as far as it was shown."""
        self.tokens = None
        self.template_notes: list[str] = []

    async def start(self, system: str, tools: Sequence[ToolSpec]) -> int:
        self.system, self.tools = system, list(tools)
        return len(system) // 4

    async def append(self, messages: Sequence[Message]) -> int:
        self.entries += messages
        return sum(len(message.content) // 4 for message in messages)

    async def append_reply(self, reply: Reply) -> int:
        self.entries.append(reply)
        return len(reply.text) // 4

    async def restore(self, ids: Sequence[int]) -> int:
        return len(ids)

    async def generate(self, options: GenerateOptions) -> AsyncGenerator[ModelEvent, None]:
        if self.used > self.limit:
            raise ContextFullError(self.used, 1, self.limit)
        self.options.append(options)
        self.written = ""
        item = self.script[min(self.played, len(self.script) - 1)]
        self.played += 1
        reply = (item() if callable(item) else item).model_copy(deep=True)
        for made in reply.tool_calls:
            made.id = f"call_{next(_ids)}"
        reply.usage = Usage(prompt_tokens=self.used, completion_tokens=10)
        if reply.text:
            yield TextDelta(text=reply.text)
        for made in reply.tool_calls:
            name: str | None = made.name
            for line in made.raw.splitlines(keepends=True):
                yield ToolCallDelta(id=made.id, name=name, text=line)
                name = None
        self.entries.append(reply)
        yield reply

    async def keep_unfinished(self) -> Reply | None:
        if not self.written:
            return None
        reply = Reply(text=self.written, finish_reason="cancelled")
        self.entries.append(reply)
        return reply

    async def routing(self, ids: Sequence[int]) -> None:
        return None

    def mark(self) -> int:
        return len(self.entries)

    def rewind(self, mark: int) -> None:
        del self.entries[mark:]

    def fork(self) -> ScriptedConversation:
        other = ScriptedConversation(self.script, limit=self.limit)
        other.entries = list(self.entries)
        return other

    async def count(self, text: str) -> int:
        return len(text) // 4

    @property
    def used(self) -> int:
        return sum(
            len(entry.content if isinstance(entry, Message) else entry.text) // 4 + 4
            for entry in self.entries
        )

    @property
    def limit(self) -> int:
        return self.info.context

    async def aclose(self) -> None:
        pass

    @property
    def prompt(self) -> str:
        """All messages that were appended."""
        return "\n".join(e.content for e in self.entries if isinstance(e, Message))


async def open_scripted(
    workspace: Path,
    script: Script,
    *,
    pack: str = "base",
    directories: Sequence[Path] = (),
    limit: int = 32_768,
    flags: dict[str, Any] | None = None,
    approver: Approver | None = None,
    conversation: Callable[..., ScriptedConversation] | None = None,
    **settings: Any,
) -> tuple[Session, ScriptedConversation]:
    """A real session in `workspace` whose model is a script. The caller closes it.

    `directories` hold packs that override the built-in ones; `conversation` makes the model."""
    model = (conversation or ScriptedConversation)(script, limit=limit)

    async def load(config: Any, **_: Any) -> LoadedModel:
        loaded = load_pack(pack, model_name="scripted", directories=directories)
        return LoadedModel(model, model.info, loaded)

    made = Settings(
        cwd=workspace,
        config=load_config(flags={"sampling": {"temperature": 0.0}, **(flags or {})}),
        mode=settings.pop("mode", "auto"),
        **settings,
    )
    session = await open_watched(made, approver=approver, load=load)
    return session, model


async def run_scripted(
    workspace: Path,
    script: Script,
    text: str = "Do it",
    output: Output = "json",
    *,
    flags: dict[str, Any] | None = None,
    **settings: Any,
) -> int:
    """Run a task headless, whose model is a script; returns the exit code."""

    async def load(config: Any, **_: Any) -> LoadedModel:
        conversation = ScriptedConversation(script)
        pack = load_pack("base", model_name="scripted")
        return LoadedModel(conversation, conversation.info, pack)

    config = load_config(flags={"sampling": {"temperature": 0.0}, **(flags or {})})
    made = Settings(cwd=workspace, config=config, mode="auto", **settings)
    return int(await run_task(text, made, output, open_session=partial(Session.open, load=load)))


class _Watcher:
    """Keeps what a session shows, and passes it on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.watch: Callable[[Event], None] = lambda event: None

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self.watch(event)


_watchers: WeakKeyDictionary[Session, _Watcher] = WeakKeyDictionary()


async def open_watched(settings: Settings, **options: Any) -> Session:
    """A session whose events `take` and `compact` return. The caller closes it."""
    watcher = _Watcher()
    session = await Session.open(settings, on_event=watcher.on_event, **options)
    _watchers[session] = watcher
    return session


async def take(
    session: Session, text: str, *, watch: Callable[[Event], None] = lambda event: None
) -> list[Event]:
    """All events of one turn; `watch` is called with each as it happens."""
    return await _events(session, session.turn(text), watch)


async def take_plan(session: Session, plan: str, mode: Mode) -> list[Event]:
    """All events of the turn that carries out an accepted plan."""
    return await _events(session, session.accept_plan(plan, mode), lambda event: None)


async def compact(session: Session) -> list[Event]:
    """All events of a compaction."""
    return await _events(session, session.compact(), lambda event: None)


async def _events(
    session: Session, work: Coroutine[Any, Any, Any], watch: Callable[[Event], None]
) -> list[Event]:
    watcher = _watchers[session]
    watcher.watch, watcher.events = watch, []
    await work
    return watcher.events


def end_of(events: list[Any]) -> TurnFinished:
    """The last event of a turn."""
    assert isinstance(events[-1], TurnFinished)
    return events[-1]


def results_of(events: list[Any]) -> list[ToolFinished]:
    """The results of all tool calls."""
    return [event for event in events if isinstance(event, ToolFinished)]
