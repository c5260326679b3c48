"""A session: one conversation in one repository, with its record, tools, gate and sandbox.

Interfaces make one, take turns in it, and show its events. Everything that happens is recorded
before it is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from laguna_agent.actions import Mode
from laguna_agent.agent.approval import Approver
from laguna_agent.agent.context import compaction
from laguna_agent.agent.context.epoch import reenter
from laguna_agent.agent.factory import make_agent, static_variables
from laguna_agent.agent.loop import run_turn
from laguna_agent.agent.model_loading import LoadedModel, LoadModel, OnLoading, load_model
from laguna_agent.agent.recorder import (
    Recollection,
    Recorder,
    open_trajectory,
    session_started,
    system_prompt,
)
from laguna_agent.agent.settings import Settings
from laguna_agent.agent.skills import Skill, called_skill, skill_context
from laguna_agent.agent.undo import not_restored, restore_files, undo_files
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.events import (
    Compacted,
    Event,
    Notice,
    Rewound,
    SystemNote,
    ToolOutput,
    TurnFinished,
    UserMessage,
    plan_text,
)
from laguna_agent.models.conversation import ToolSpec
from laguna_agent.paths import make_private, repository_root, snapshots_dir, state_dir
from laguna_agent.policy.gate import Gate
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints, RestoreReport
from laguna_agent.tools.files import read_state
from laguna_agent.trajectory.replay import ConversationState
from laguna_agent.trajectory.store import Trajectory


class Session:
    """Get one from `Session.open`; close it with `aclose`."""

    def __init__(
        self, settings: Settings, trajectory: Trajectory, model: LoadedModel, *, resumed: bool
    ) -> None:
        self.settings = settings
        self.trajectory = trajectory
        self.root = repository_root(settings.cwd)
        self.info, self.pack, self.conversation = model.info, model.pack, model.conversation
        self.recorder = Recorder(trajectory, resumed=resumed)
        self.agent, self.notices = make_agent(settings, self.root, trajectory, model)
        self.agent.planning = self.agent.plans_from_the_start
        self.agent.live = self._live
        self.agent.compact = self.compact
        self.agent.request = self._summary_request
        self.memory = Recollection(self.agent, trajectory, settings.config.memory)
        self._resumed = resumed
        self._queue: asyncio.Queue[Event | None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._prefix_mark: int | None = None
        self._reasons = 0

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        on_loading: OnLoading | None = None,
        load: LoadModel = load_model,
    ) -> Session:
        """Load the model, and start a session or resume one. Raises LagunaError."""
        root = repository_root(settings.cwd)
        with suppress(OSError):  # what cannot be written is said when it is written
            make_private(state_dir(), snapshots_dir())
        trajectory, resumed = open_trajectory(settings, root)
        try:
            model = await load(
                settings.config,
                root=root,
                session=trajectory.id,
                trusted=settings.trusted,
                plan=settings.plan,
                on_loading=on_loading,
            )
            return cls(settings, trajectory, model, resumed=resumed)
        except BaseException:
            trajectory.close()
            raise

    # --- turns ------------------------------------------------------------------------------

    async def turn(self, text: str) -> AsyncGenerator[Event, None]:
        """Take one turn: yields every event as it happens, a TurnFinished last.

        `/NAME words` calls the skill of that name.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queue = queue
        self._task = asyncio.create_task(self._drive(text, queue))
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
        """Say something that goes in before the next model call; returns what was queued.

        Raises UsageError when it calls a skill that cannot be read any more.
        """
        message = self._said(text).model_copy(update={"origin": "steer"})
        self.agent.steering.append(message)
        return message

    @property
    def conversation_state(self) -> ConversationState:
        """The conversation as the record has it: user messages, plan, history."""
        return self.recorder.state

    @property
    def gate(self) -> Gate:
        """The policy that decides what may run."""
        return self.agent.gate

    @property
    def checkpoints(self) -> Checkpoints | None:
        """Recorded states of the files; None where none are kept."""
        return self.agent.checkpoints

    @property
    def skills(self) -> list[Skill]:
        """Skills that a message `/NAME` calls."""
        return self.agent.skills

    def turn_before(self, seq: int) -> tuple[int, str | None]:
        """The event to rewind to so that user message `seq` is undone, and the checkpoint of the
        files as they were then."""
        return self.recorder.turn_before(seq)

    def withdraw(self, message: UserMessage) -> bool:
        """Take back a steering message; False when the model already has it."""
        try:
            self.agent.steering.remove(message)
        except ValueError:
            return False
        return True

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

    async def compact(self, guidance: str = "") -> AsyncGenerator[Event, None]:
        """Summarise and go on in a new epoch; yields what happens, which the caller records."""
        pack, state = self.pack, self.recorder.state

        instructions = self.agent.instructions
        stays = {"memory": "", "instructions": instructions.standing() if instructions else ""}

        def opening(summary: str, messages: list[str], plan: str) -> str:
            return pack.text(
                "epoch.md",
                **{**self.agent.opening, **stays},
                summary=summary,
                messages=messages,
                plan=plan,
            )

        events = compaction.compact(
            self.conversation,
            state,
            prefix_mark=await self.begin(),
            request=lambda known: self._summary_request(guidance, known),
            opening=opening,
            evidence=self.recorder.epoch(),
            reserve=await self.agent.measure(),
            guidance=guidance,
            logprobs=self.agent.logprobs,
            render=self.agent.message_of,
            unsaid=self.agent.unsaid,
        )
        async for event in events:
            yield event

    def _summary_request(self, guidance: str = "", known: str = "") -> str:
        plan = plan_text(self.agent.plan)
        return self.pack.text("compact.md", guidance=guidance, plan=plan, known=known)

    async def compact_now(self, guidance: str = "") -> AsyncGenerator[Event, None]:
        """`/compact`: like `compact`, between turns, recorded."""
        await self.begin()
        async for event in self.compact(guidance):
            self._record(event)
            yield event
        self.trajectory.sync()

    async def rewind(self, seq: int, *, code: bool) -> list[str]:
        """Go back to before user message `seq`, with the files if `code`.

        Returns the files that were restored. Raises LagunaError; not while a turn goes on.
        """
        self._must_rest()
        mark = await self.begin()
        target, checkpoint = self.recorder.turn_before(seq)
        report = RestoreReport()
        if code and checkpoint is not None:
            report = await restore_files(self.agent, checkpoint)
        self._record(Rewound(to_seq=target, code=code))
        for notice in not_restored(report):
            self._record(notice)
        read_state.forget_all(self.agent.context)
        self.conversation.rewind(mark)
        self.agent.unsaid = await reenter(
            self.conversation, self.recorder.state, render=self.agent.message_of
        )
        self._take_state()
        self.trajectory.sync()
        return sorted({*report.written, *report.removed})

    async def undo(self, checkpoint: str) -> RestoreReport:
        """Put the files back to a checkpoint; the model is told with the next message.

        Raises LagunaError; not while a turn goes on.
        """
        self._must_rest()
        if self._resumed:
            await self.begin()  # or it would not be known what the model was told
        self._close_calls()
        report, notes = await undo_files(self.agent, checkpoint)
        for note in notes:
            self._record(note)
        self.trajectory.sync()
        return report

    async def aclose(self) -> None:
        """End the shell, let go of the engine, and close the record."""
        self.cancel()
        for resource in self.agent.context.resources:
            with suppress(Exception):
                await resource.aclose()
        with suppress(Exception):
            await self.conversation.aclose()
        self.memory.close()
        self.trajectory.close()

    # --- within -----------------------------------------------------------------------------

    def _must_rest(self) -> None:
        if self.busy:
            raise UsageError("a turn is going on", hint="Stop it first.")

    def _said(self, text: str) -> UserMessage:
        """What a person said, with the text of the skill that it calls beside it."""
        skill = called_skill(text, self.agent.skills)
        if skill is None:
            return UserMessage(text=text)
        try:
            context = skill_context(skill, self.pack.limits.result_chars)
        except (OSError, ValueError) as error:
            raise UsageError(f"the skill {skill.name} cannot be read: {error}") from error
        return UserMessage(text=text, context=context)

    async def _drive(self, text: str, queue: asyncio.Queue[Event | None]) -> None:
        finished = False
        try:
            message = self._said(text)
            await self.begin(queue)
            self._close_calls()
            self.agent.interrupted = self.recorder.state.ended == "interrupted"
            if not self.agent.opened:
                await self.memory.begin(message.text)
            async with aclosing(run_turn(self.agent, message)) as events:
                async for event in events:
                    if isinstance(event, TurnFinished):
                        for notice in self._format_notices():
                            self._record(notice)
                            queue.put_nowait(notice)
                        finished = True
                        self._end(queue, event)
                    else:
                        self._record(event)
                        queue.put_nowait(event)
        except asyncio.CancelledError:
            if not finished:
                self._end(queue, TurnFinished(status="interrupted", error="interrupted"))
        except LagunaError as error:
            if not finished:
                self._end(queue, TurnFinished(status="error", error=str(error)))
        except Exception as error:
            if finished:
                raise
            said = f"unexpected {type(error).__name__}: {error}"
            self._end(queue, TurnFinished(status="error", error=said))
        finally:
            queue.put_nowait(None)

    def _end(self, queue: asyncio.Queue[Event | None], event: TurnFinished) -> None:
        """A turn's end is on disk before it is told."""
        event.checkpoint = self.agent.left or ""
        try:
            self._record(event)
            self.memory.remember()
            self.trajectory.sync()
        except LagunaError as error:
            queue.put_nowait(Notice(level="error", text=f"not recorded: {error}"))
        queue.put_nowait(event)

    def _record(self, event: Event) -> None:
        if not event.transient:
            self.agent.seq = self.recorder.add(event)
            if isinstance(event, Compacted):
                self.agent.planning = self.agent.plans_from_the_start
                self.memory.remember(event.summary)

    def _live(self, call_id: str, text: str) -> None:
        if self._queue is not None:
            self._queue.put_nowait(ToolOutput(call_id=call_id, text=text))

    async def begin(self, queue: asyncio.Queue[Event | None] | None = None) -> int:
        """Put the static prefix, once; returns the conversation's mark after it."""
        if self._prefix_mark is not None:
            return self._prefix_mark
        old = self.recorder.state.system if self._resumed else None
        same = old is not None and self._same_model()
        specs = [
            ToolSpec(name=t.name, description=t.description, parameters=t.parameters)
            for t in self.agent.tools.values()
        ]
        variables = static_variables(self.info, self.agent.tools, thinking=self.agent.thinking)
        system = self.pack.system(variables)
        if old is not None and same:
            # What was said before stays as it was, or none of it could be reused.
            system, specs = old.text, [ToolSpec.model_validate(tool) for tool in old.tools]
        tokens = await self.conversation.start(system, specs)
        self._prefix_mark = self.conversation.mark()
        opening: list[Event] = [*self.notices, *self._format_notices()]
        if old is None or not same:
            started = session_started(self.settings, self.trajectory, self.agent)
            prompt = system_prompt(self.conversation, system, specs, tokens)
            opening = [started, prompt, *opening]
        if self._resumed:
            await self._reenter(opening, same=same)
        for event in opening:
            self._record(event)
            if queue is not None:
                queue.put_nowait(event)
        return self._prefix_mark

    async def _reenter(self, opening: list[Event], *, same: bool) -> None:
        state = self.recorder.state
        for result in state.interrupted:
            self._record(result)
        if not same:
            state.token_ids = None
            for stored in state.history:
                if stored.event.type == "reply":
                    stored.event.token_ids = None
        self.agent.unsaid = await reenter(self.conversation, state, render=self.agent.message_of)
        self._take_state()
        self.agent.turns = state.turns
        problems = self.trajectory.problems
        opening += [Notice(level="warning", text=problem) for problem in problems]

    def _take_state(self) -> None:
        """Know again what the record says."""
        agent, state = self.agent, self.recorder.state
        agent.plan, agent.opened = list(state.plan), bool(state.user_messages)
        agent.left = state.left or None
        told = [
            item.event.reason == "plan"
            for item in state.history
            if isinstance(item.event, SystemNote) and item.event.reason in ("plan", "act")
        ]
        agent.planning = told[-1] if told else agent.plans_from_the_start

    def _close_calls(self) -> None:
        """Give calls that the last turn left without a result one that says so."""
        for result in self.recorder.state.interrupted:
            self._record(result)
            self.agent.unsaid.append(self.agent.message_of(result))

    def _format_notices(self) -> list[Notice]:
        """What the chat format says of the model's template that was not said yet."""
        reasons = self.conversation.template_notes[self._reasons :]
        self._reasons += len(reasons)
        return [Notice(text=f"Chat format: {reason}.") for reason in reasons]

    def _same_model(self) -> bool:
        started = self.recorder.state.started
        model = started.model if started is not None else {}
        return (
            self.info.sha256 is not None
            and model.get("sha256") == self.info.sha256
            and model.get("format") == self.info.format
        )
