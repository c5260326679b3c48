"""A session: one conversation in one repository, with its record, tools, gate and sandbox.

Interfaces make one, take turns in it, and show its events. Everything that happens is recorded
before it is shown.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import platform
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laguna_agent import __version__
from laguna_agent.actions import Mode
from laguna_agent.agent.hooks import Hooks
from laguna_agent.agent.instructions import Instructions
from laguna_agent.agent.loop import run_turn
from laguna_agent.agent.opening import git_state
from laguna_agent.agent.state import Agent, Approver, Limits
from laguna_agent.config import Config
from laguna_agent.errors import LagunaError
from laguna_agent.events import (
    Event,
    Notice,
    SessionStarted,
    SystemPrompt,
    ToolOutput,
    TurnFinished,
    UserMessage,
)
from laguna_agent.models.base import Conversation, ModelInfo, Sampling, ToolSpec
from laguna_agent.paths import config_dir, repository_root, repository_state_dir
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.sandbox import make_sandbox
from laguna_agent.prompts.pack import Pack, load_pack
from laguna_agent.prompts.templates import StaticVariables
from laguna_agent.tools.base import ToolContext
from laguna_agent.tools.checkpoints import Checkpoints
from laguna_agent.tools.registry import builtin_tools
from laguna_agent.trajectory.store import Trajectory


@dataclass
class Settings:
    """What a session is started with; the flags of the command line."""

    cwd: Path
    config: Config
    mode: Mode
    plan: bool = False
    interactive: bool = False
    trusted: bool = False
    check: str | None = None
    resume: str | None = None
    """Id of a session to go on with."""
    fork: str | None = None
    """Id of a session to go on with a copy of."""
    continue_last: bool = False


@dataclass
class _Loaded:
    conversation: Conversation
    info: ModelInfo
    pack: Pack


class Session:
    """Get one from `Session.open`; close it with `aclose`."""

    def __init__(self, settings: Settings, trajectory: Trajectory, loaded: _Loaded) -> None:
        self.settings = settings
        self.trajectory = trajectory
        self.info = loaded.info
        self.pack = loaded.pack
        self.conversation = loaded.conversation
        self.root = repository_root(settings.cwd)
        self.notices: list[Notice] = []
        """Said before the first turn; interfaces show them once."""
        self._queue: asyncio.Queue[Event | None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._started = False
        self.agent = self._make_agent()

    @classmethod
    async def open(
        cls, settings: Settings, *, on_loading: Any = None, session_id: str | None = None
    ) -> Session:
        """Load the model and begin a session. Raises LagunaError when it cannot be had."""
        root = repository_root(settings.cwd)
        trajectory = Trajectory.create(root, session_id=session_id)
        try:
            loaded = await load(settings, trajectory.id, root, on_loading)
        except BaseException:
            trajectory.close()
            raise
        return cls(settings, trajectory, loaded)

    # --- turns ------------------------------------------------------------------------------

    async def turn(self, text: str) -> AsyncGenerator[Event, None]:
        """Take one turn: yields every event as it happens, a TurnFinished last."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queue = queue
        self._task = asyncio.create_task(self._drive(UserMessage(text=text), queue))
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._queue = self._task = None

    def cancel(self) -> None:
        """Stop what is going on; the turn then ends as interrupted."""
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def steer(self, text: str) -> UserMessage:
        """Say something that goes in before the next model call; returns what was queued."""
        message = UserMessage(text=text, origin="steer")
        self.agent.steering.append(message)
        return message

    @property
    def busy(self) -> bool:
        """Whether a turn is going on."""
        return self._task is not None and not self._task.done()

    def set_mode(self, mode: Mode) -> None:
        """Change what passes unasked, from the next call on."""
        self.agent.gate.mode = mode

    def set_approver(self, approver: Approver | None) -> None:
        """Who is asked."""
        self.agent.approver = approver

    async def aclose(self) -> None:
        """End the shell, let go of the engine, and close the record."""
        self.cancel()
        for resource in self.agent.context.resources:
            with suppress(Exception):
                await resource.aclose()
        with suppress(Exception):
            await self.conversation.aclose()
        self.trajectory.close()

    # --- within -----------------------------------------------------------------------------

    async def _drive(self, message: UserMessage, queue: asyncio.Queue[Event | None]) -> None:
        finished = False
        try:
            if not self._started:
                await self._begin(queue)
            async with aclosing(run_turn(self.agent, message)) as events:
                async for event in events:
                    self._record(event)
                    finished = finished or isinstance(event, TurnFinished)
                    if isinstance(event, TurnFinished):
                        self.trajectory.sync()
                    queue.put_nowait(event)
        except asyncio.CancelledError:
            if not finished:
                self._interrupted(queue)
        except LagunaError as error:
            if not finished:
                self._end(queue, TurnFinished(status="error", error=str(error)))
        except Exception as error:
            if not finished:
                said = f"unexpected {type(error).__name__}: {error}"
                self._end(queue, TurnFinished(status="error", error=said))
            raise
        finally:
            queue.put_nowait(None)

    def _interrupted(self, queue: asyncio.Queue[Event | None]) -> None:
        self._end(queue, TurnFinished(status="interrupted", error="interrupted"))

    def _end(self, queue: asyncio.Queue[Event | None], event: TurnFinished) -> None:
        with suppress(LagunaError):
            self._record(event)
            self.trajectory.sync()
        queue.put_nowait(event)

    def _record(self, event: Event) -> None:
        if not event.transient:
            self.agent.seq = self.trajectory.append(event)

    async def _begin(self, queue: asyncio.Queue[Event | None]) -> None:
        """Put the static prefix, and say what the session runs with."""
        specs = [
            ToolSpec(name=t.name, description=t.description, parameters=t.parameters)
            for t in self.agent.tools.values()
        ]
        system = self.pack.system(self._static())
        tokens = await self.conversation.start(system, specs)
        started = SessionStarted(
            session=self.trajectory.id,
            repository=str(self.root),
            cwd=str(self.settings.cwd),
            model=self.info.model_dump(mode="json"),
            sampling=self.agent.sampling.model_dump(mode="json"),
            seed=self.agent.sampling.seed,
            pack={"name": self.pack.name, "sha256": self.pack.sha256},
            versions={
                "laguna": __version__,
                "python": platform.python_version(),
                "engine": self.info.engine,
            },
            mode=self.agent.gate.mode,
            parent=self.trajectory.meta.parent,
        )
        ids = getattr(self.conversation, "tokens", None)
        prompt = SystemPrompt(
            text=system,
            tools=[spec.model_dump(mode="json") for spec in specs],
            tokens=tokens,
            token_ids=list(ids) if ids is not None else None,
        )
        opening: list[Event] = [started, prompt, *self.notices]
        for event in opening:
            self._record(event)
            queue.put_nowait(event)
        self._started = True

    def _static(self) -> StaticVariables:
        return StaticVariables(
            model=self.info.name,
            format=self.info.format,
            tools=tuple(self.agent.tools),
            thinking=self.agent.thinking,
        )

    def _make_agent(self) -> Agent:
        settings, config = self.settings, self.settings.config
        state = repository_state_dir(self.root)
        choice = make_sandbox(
            workspace=self.root,
            enabled=config.policy.sandbox,
            network=config.policy.network and not config.offline,
            writable=[Path(path).expanduser() for path in config.policy.writable],
            state_dir=state,
        )
        if choice.reason:
            self.notices.append(Notice(level="warning", text=f"No sandbox: {choice.reason}"))
        gate = Gate(
            mode=settings.mode,
            plan=settings.plan,
            workspace=self.root,
            rules=config.policy.rules,
            sandboxed=choice.sandbox.name != "none",
            network=config.policy.network and not config.offline,
            trusted=settings.trusted,
            interactive=settings.interactive,
            state_dirs=[self.trajectory.directory],
            offline=config.offline,
        )
        context = ToolContext(
            workspace=self.root,
            state_dir=self.trajectory.outputs,
            sandbox=choice.sandbox,
            max_output_chars=self.pack.limits.result_chars,
        )
        tools = {tool.name: tool for tool in self.pack.tools(builtin_tools())}
        limits = Limits(
            steps=config.limits.steps or self.pack.limits.steps,
            tokens=config.limits.tokens,
            timeout=config.limits.timeout,
            reply_tokens=self.pack.limits.reply_tokens,
        )
        agent = Agent(
            conversation=self.conversation,
            tools=tools,
            gate=gate,
            context=context,
            pack=self.pack,
            sampling=self._sampling(),
            limits=limits,
            hooks=Hooks(config.hooks, cwd=self.root, session=self.trajectory.id)
            if config.hooks
            else None,
            thinking=self._thinking(),
            check_known=settings.check,
            checkpoints=Checkpoints(self.root, state),
            opening=self._opening(),
        )
        agent.live = self._live
        return agent

    def _live(self, call_id: str, text: str) -> None:
        if self._queue is not None:
            self._queue.put_nowait(ToolOutput(call_id=call_id, text=text))

    def _thinking(self) -> bool:
        chosen = self.settings.config.thinking
        return bool(self.pack.thinking if chosen is None else chosen)

    def _sampling(self) -> Sampling:
        config = self.settings.config.sampling
        values: dict[str, Any] = {**recommended(self.info), **self.pack.sampling}
        values |= {k: v for k, v in config.model_dump().items() if v is not None}
        if values.get("seed") is None:
            values["seed"] = 0 if values.get("temperature") == 0 else secrets.randbelow(2**31)
        return Sampling(**values)

    def _opening(self) -> dict[str, str]:
        instructions = Instructions(
            root=self.root,
            cwd=self.settings.cwd,
            limit=self.pack.limits.instructions_chars,
            user=config_dir(),
            trusted=True,
        )
        cwd = self.settings.cwd
        text = instructions.opening()
        self.notices += instructions.notices
        return {
            "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d"),
            "cwd": str(cwd),
            "git": git_state(self.root),
            "instructions": text,
        }


def recommended(info: ModelInfo) -> dict[str, Any]:
    """Sampling that the model's makers recommend, as the catalogue knows it."""
    from laguna_agent.models.catalogue import load_catalogue

    known = load_catalogue().by_digest(info.sha256) if info.sha256 else None
    sampling = getattr(known.entry, "sampling", None) if known else None
    return sampling.model_dump(exclude_none=True) if sampling is not None else {}


async def load(settings: Settings, session: str, root: Path, on_loading: Any) -> _Loaded:
    """Find and load the model, choose its pack, and make a conversation with it."""
    from laguna_agent.models.chat import format_for
    from laguna_agent.models.engine.client import open_engine
    from laguna_agent.models.fit import choose_context
    from laguna_agent.models.local import LocalConversation
    from laguna_agent.models.store import resolve

    config = settings.config
    model = await asyncio.to_thread(resolve, None, config)
    directories = [config_dir() / "prompts"]
    if settings.trusted:
        directories.insert(0, root / ".laguna" / "prompts")
    name = "plan" if settings.plan and config.pack is None else config.pack
    pack = load_pack(name, model_name=model.name, directories=directories)
    context = choose_context(model.header, config.engine)
    engine_config = config.engine.model_copy(update={"context": context})
    engine = await open_engine(
        model.path, config=engine_config, sha256=model.sha256, on_event=on_loading
    )
    loaded = engine.model
    thinking = pack.thinking if config.thinking is None else config.thinking
    form = format_for(
        pack.chat_format,
        architecture=loaded.architecture,
        template=loaded.template,
        model_name=model.name,
        thinking=thinking,
    )
    template = loaded.template
    info = ModelInfo(
        name=model.name,
        sha256=model.sha256,
        format=form.name,
        architecture=loaded.architecture,
        quantization=loaded.quantization,
        parameters=loaded.parameters,
        size_bytes=loaded.size_bytes,
        context=loaded.context,
        template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else None,
        engine=loaded.build,
    )
    return _Loaded(LocalConversation(engine, form, info, session), info, pack)
