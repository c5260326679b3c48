"""A repository to work in, and an app on a session whose model follows a script."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual._wait import SLEEP_GRANULARITY, wait_for_idle
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from laguna_agent.agent.model_loading import LoadedModel, load_model, pack_directories
from laguna_agent.agent.session import Session
from laguna_agent.agent.settings import Settings
from laguna_agent.config import load_config
from laguna_agent.events import ModelEvent, PrefillProgress, Reply, TextDelta, ThinkingDelta
from laguna_agent.interfaces.tui.app import LagunaApp
from laguna_agent.interfaces.tui.widgets import choice_row
from laguna_agent.models.conversation import GenerateOptions
from laguna_agent.models.store import Store, resolve
from laguna_agent.prompts.loader.pack import load_pack
from support.model_server import ModelServer
from support.scripted import Script, ScriptedConversation

WAIT_S = 30.0
"""Only so that a failing test ends."""
POLL_S = 0.02
_IDLE_S = 0.1


class Streaming(ScriptedConversation):
    """A scripted conversation that streams in pieces and can be paused.

    While `gate` is closed, a reply stops after its first piece; while `prefill` is, before it.
    """

    gate: threading.Event
    prefill: threading.Event

    async def generate(self, options: GenerateOptions) -> AsyncGenerator[ModelEvent, None]:
        async for event in super().generate(options):
            if isinstance(event, Reply):
                yield event
            elif isinstance(event, TextDelta):
                reply = self.entries[-1] if self.entries else None
                yield PrefillProgress(done=1_200, total=2_400, reused=800, rate=150, eta_s=8)
                while not self.prefill.is_set():
                    await asyncio.sleep(0.005)
                if isinstance(reply, Reply) and reply.thinking:
                    yield ThinkingDelta(text=reply.thinking)
                half = len(event.text) // 2
                self.written = event.text[:half]
                yield TextDelta(text=self.written)
                while not self.gate.is_set():
                    await asyncio.sleep(0.005)
                yield TextDelta(text=event.text[half:])


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No dialog waits until typing stops: a pilot presses keys faster than a person."""
    monkeypatch.setattr(choice_row, "QUIET_S", 0.0)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pilot wait briefly for an idle processor: on a busy machine it would wait a second
    after each key. That everything is handled, it awaits besides."""
    monkeypatch.setattr(wait_for_idle, "__defaults__", (SLEEP_GRANULARITY, _IDLE_S))


@pytest.fixture(autouse=True, scope="session")
def styles_parsed_once() -> Iterator[None]:
    """Parse the same styles once for all apps: that takes a third of a short test."""
    parsed: dict[Any, list[RuleSet]] = {}
    parse = Stylesheet._parse_rules

    def known(self: Stylesheet, css: str, *args: Any, **more: Any) -> list[RuleSet]:
        key = css, args, *sorted(more.items()), *sorted(self._variables.items())
        if key not in parsed:
            parsed[key] = parse(self, css, *args, **more)
        return parsed[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "_parse_rules", known)
        yield


@pytest.fixture(autouse=True)
def no_servers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs at the usual ports of this machine is not found, and no server of a test is
    given up because the machine is busy."""
    monkeypatch.setattr("laguna_agent.models.servers.discovery._LOCAL_S", 60.0)
    monkeypatch.setattr("laguna_agent.models.servers.model_list._LIMIT_S", 60.0)
    monkeypatch.setattr("laguna_agent.models.servers.discovery.USUAL", ())
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with two files; its root is the working directory."""
    root = tmp_path / "shop"
    root.mkdir()
    (root / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    (root / "test_calc.py").write_text(
        "from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
    )
    for command in ("git init -q -b main", "git add .", "git commit -q -m start"):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *command.split()[1:]],
            cwd=root,
            check=True,
        )
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def configured(laguna_home: Path, repository: Path) -> Callable[[ModelServer], list[str]]:
    """Adds a server to the configuration; returns the arguments that choose it."""

    def configure(server: ModelServer) -> list[str]:
        path = laguna_home / "config" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'[providers.fake]\nurl = "{server.url}"\ncontext = 32768\n')
        return ["--model", "fake/tester"]

    return configure


class Driven:
    """An app under a pilot, with the steps that tests take."""

    def __init__(
        self,
        app: LagunaApp,
        pilot: Pilot[int],
        gate: threading.Event,
        prefill: threading.Event,
        conversations: list[Streaming],
    ) -> None:
        self.app, self.pilot, self.gate, self.prefill = app, pilot, gate, prefill
        self.conversations = conversations
        """Of the sessions opened so far, in order."""

    async def until(self, condition: Callable[[], Any], what: str = "") -> None:
        """Wait until a condition holds; fail if it never does."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, f"did not happen: {what}\n{self.shown}"
            await asyncio.sleep(POLL_S)
        await self.pilot.pause()

    async def send(self, text: str) -> None:
        """Type a message and send it."""
        self.app.composer.insert(text)
        if text.startswith("/"):  # the list of completions opens, and would take the Enter
            await self.pilot.pause()
        await self.pilot.press("escape") if self.app.completion_list.is_open else None
        await self.pilot.press("enter")

    async def turn(self, text: str, answer: str) -> None:
        """Run a whole turn: send a message, wait for the answer and the end."""
        await self.idle()
        await self.send(text)
        await self.shows(answer)
        await self.idle()

    async def command(self, text: str) -> None:
        """Type a command and send it, and wait for the next frame."""
        await self.send(text)
        await self.pilot.pause()

    async def dialog(self, kind: type[Screen[Any]]) -> None:
        """Wait for a dialog, and until it takes keys."""

        def ready() -> bool:
            screen = self.app.screen
            if not isinstance(screen, kind) or not screen.is_mounted:
                return False
            lines = screen.query(Input)
            return not lines or (lines.first().has_focus and self.accepts_enter(lines.first()))

        await self.until(ready, kind.__name__)

    @staticmethod
    def accepts_enter(line: Input) -> bool:
        """Whether a line takes Enter already."""
        return getattr(line, "quiet", None) is None or line.quiet.over

    async def choose(self, label: str) -> None:
        """Move to a choice and confirm it."""
        row = None

        def ready() -> bool:
            nonlocal row
            row = self.app.screen.focused
            return isinstance(row, choice_row.ChoiceRow) and row.quiet.over

        await self.until(ready, "choices")
        assert isinstance(row, choice_row.ChoiceRow)
        labels = [choice.label for choice in row.choices]
        await self.pilot.press(*["right"] * (labels.index(label) + 1))
        assert row.selected is not None
        assert row.selected.label == label
        await self.pilot.press("enter")

    async def idle(self) -> None:
        """Wait until nothing runs."""
        await self.until(lambda: not self.app.activity.busy and self.app.agent.session, "idle")

    async def shows(self, text: str) -> None:
        """Wait until the screen shows a text."""
        await self.until(lambda: text in self.shown, f"shows {text!r}")

    @property
    def shown(self) -> str:
        """The screen as text."""
        height = self.app.size.height
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in lines[:height])


@pytest.fixture
def opening() -> Callable[..., Awaitable[Session]]:
    """Opens sessions as laguna does; only the replies of a local model are scripted."""

    async def open_session(settings: Settings, *, load: Any, **options: Any) -> Session:
        if "/" in (settings.config.model or Store().default or ""):
            load = load_model
        else:
            await asyncio.to_thread(resolve, None, settings.config)
        return await Session.open(settings, load=load, **options)

    return open_session


Drive = Callable[..., Any]


@pytest.fixture
def drive(repository: Path) -> Drive:
    """`async with drive(script, size=…) as driven` runs the app on a scripted session."""

    @asynccontextmanager
    async def driving(
        script: Script,
        *,
        size: tuple[int, int] = (80, 24),
        mode: str = "ask",
        gated: bool = False,
        prompt: str | None = None,
        open_session: Callable[..., Awaitable[Session]] | None = None,
        **settings: Any,
    ) -> AsyncGenerator[Driven, None]:
        made = Settings(
            cwd=repository,
            config=load_config(flags={"sampling": {"temperature": 0.0}}),
            mode=mode,  # type: ignore[arg-type]
            interactive=True,
            **settings,
        )

        gate, prefill = threading.Event(), threading.Event()
        prefill.set()
        if not gated:
            gate.set()
        conversations: list[Streaming] = []

        async def load(config: Any, *, root: Path, trusted: bool, **_: Any) -> LoadedModel:
            directories = pack_directories(root, trusted=trusted)
            pack = load_pack("base", model_name="scripted", directories=directories)
            conversation = Streaming(script)
            conversation.gate, conversation.prefill = gate, prefill
            if conversations:  # the script continues where the last conversation was
                conversation.played = conversations[-1].played
            conversations.append(conversation)
            return LoadedModel(conversation, conversation.info, pack)

        opens = functools.partial(open_session or Session.open, load=load)
        app = LagunaApp(lambda: made, prompt=prompt, open_session=opens)
        app.animation_level = "none"
        async with app.run_test(size=size) as pilot:
            yield Driven(app, pilot, gate, prefill, conversations)

    return driving
