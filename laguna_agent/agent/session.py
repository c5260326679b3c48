"""A session: one conversation in one repository, with its record, tools, policy and sandbox.

Interfaces open one, take turns in it and show its events. Every event is recorded before it is
shown.

Over 400 lines because what interfaces may do with a session is best read in one place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from laguna_agent.actions import Mode
from laguna_agent.agent.approval import Approver, revoke_rule
from laguna_agent.agent.context.context_window import ContextWindow
from laguna_agent.agent.conversation_start import adopt_record, start_conversation
from laguna_agent.agent.factory import make_services, make_state
from laguna_agent.agent.kept_settings import set_since, settings_now, with_kept
from laguna_agent.agent.loop import AgentLoop
from laguna_agent.agent.model_loading import LoadedModel, LoadModel, load_model
from laguna_agent.agent.plan_mode import accepting_message
from laguna_agent.agent.recorder import OnEvent, Recorder
from laguna_agent.agent.session_memory import SessionMemory
from laguna_agent.agent.settings import Settings
from laguna_agent.agent.skills import Skill, called_skill, skill_context
from laguna_agent.agent.undo import choose, left_notices, steps_of, undo_files, undoable
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.events import Notice, Rewound, SettingsChanged, TurnFinished, UserMessage
from laguna_agent.log import log_error, logger, unexpected
from laguna_agent.models.conversation import Conversation, ModelInfo
from laguna_agent.paths import make_private, repository_root, snapshots_dir, state_dir
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.permissions import Permission, permissions
from laguna_agent.prompts.loader.pack import Pack
from laguna_agent.tools.checkpoints.change import Step, Taken
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from laguna_agent.tools.files import read_state
from laguna_agent.tools.mcp.servers import McpServers
from laguna_agent.tools.shell import running_calls
from laguna_agent.tools.tool import EditorFiles
from laguna_agent.trajectory.index import SessionIndex
from laguna_agent.trajectory.replay import ConversationState
from laguna_agent.trajectory.store import Trajectory

MOST_MESSAGE_CHARS = 1_000_000
"""Characters of a message: more than any context holds."""


class Session:
    """Open with `Session.open()`, close with `aclose()`."""

    def __init__(
        self,
        settings: Settings,
        recorder: Recorder,
        model: LoadedModel,
        *,
        resumed: bool,
        approver: Approver | None = None,
        notices: Sequence[Notice] = (),
    ) -> None:
        self.settings = settings
        self.root = repository_root(settings.cwd)
        self.trajectory = recorder.trajectory
        self._recorder = recorder
        self._resumed = resumed
        self._started = False
        self._services, self._notices = make_services(
            settings, self.root, model, recorder, approver
        )
        self._state = make_state(settings, self._services)
        self._notices += [*self._services.instructions.take_notices(), *notices]
        self._memory = SessionMemory(self.root, self.trajectory, settings.config.memory)
        self._services.tool_context.recall = self._memory.search
        self._window = ContextWindow(self._services, self._state, self._memory)
        self._loop = AgentLoop(self._services, self._state, self._window)
        self._turn: asyncio.Task[TurnFinished] | None = None
        self._timed_out = False

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        on_event: OnEvent | None = None,
        approver: Approver | None = None,
        load: LoadModel = load_model,
        editor: EditorFiles | None = None,
    ) -> Session:
        """Load the model, and start a session or resume one. Raises LagunaError.

        `on_event` is called with every event, from the loading of the model on. `approver` asks a
        person; without one, what needs approval is denied. `editor` is where the person has the
        files open.
        """
        root = repository_root(settings.cwd)
        with suppress(OSError):  # what cannot be written is reported when it is written
            make_private(state_dir(), snapshots_dir())
        trajectory, resumed = _open_trajectory(settings, root)
        try:
            recorder = Recorder(trajectory, resumed=resumed, on_event=on_event)
            settings, notices = with_kept(settings, recorder.state.settings)
            model = await load(
                settings.config,
                root=root,
                session=trajectory.id,
                trusted=settings.trusted,
                # A person may end planning, which the pack's toolset would not allow.
                plan=settings.plan and not settings.interactive,
                on_event=on_event,
            )
            opened, info = "resumed" if resumed else "opened", model.info
            logger.info("session %s %s: model %s, format %s",
                        trajectory.id, opened, info.name, info.format)  # fmt: skip
            session = cls(
                settings, recorder, model, resumed=resumed, approver=approver, notices=notices
            )
            session._services.tool_context.editor = editor
            return session
        except BaseException:
            if resumed and settings.fork is None:
                trajectory.close()
            else:  # nothing has happened in it
                trajectory.discard()
            raise

    # --- what interfaces read ---------------------------------------------------------------

    @property
    def conversation(self) -> Conversation:
        """The prompt as the model sees it."""
        return self._services.conversation

    @property
    def conversation_state(self) -> ConversationState:
        """The conversation as the record has it: user messages, plan, history."""
        return self._recorder.state

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        return self._services.conversation.info

    @property
    def proposed_plan(self) -> str:
        """The plan that the last turn proposed in plan mode, and nobody decided on; else empty."""
        return self._recorder.state.proposed_plan if self.gate.plan else ""

    @property
    def pack(self) -> Pack:
        """The prompt pack in use."""
        return self._services.pack

    @property
    def gate(self) -> Gate:
        """The policy that decides what may run."""
        return self._services.gate

    @property
    def checkpoints(self) -> Checkpoints:
        """Recorded states of the files."""
        return self._services.checkpoints

    @property
    def skills(self) -> list[Skill]:
        """Skills that a message `/NAME` calls."""
        return self._services.skills

    @property
    def mcp(self) -> McpServers | None:
        """The MCP servers, if there are any."""
        return self._services.mcp

    def steps(self) -> list[Step]:
        """The turns of this session that changed files, and its undos, the latest first."""
        return steps_of(self.checkpoints, self.trajectory.directory)

    def steps_since(self, seq: int) -> list[Step]:
        """The turns since user message `seq`, its own included, that can be undone."""
        _, turn = self._recorder.turn_before(seq)
        return [step for step in undoable(self.steps()) if step.origin.seq >= turn]

    # --- turns ------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a turn is running."""
        return self._turn is not None and not self._turn.done()

    async def turn(self, text: str, *, context: str = "") -> TurnFinished:
        """Take one turn; returns its last event. `/NAME words` calls the skill of that name.

        `context` is what the model reads before the text: what the user did since the last turn.

        When the caller is cancelled, the turn ends as interrupted, on record; when its time is up,
        as having reached a limit. Raises UsageError for a text that no context holds.
        """
        _must_fit(text)
        return await self._take_turn(lambda: self._user_message(text, context))

    async def accept_plan(self, plan: str, mode: Mode) -> TurnFinished:
        """End plan mode and carry out `plan`, the `proposed_plan` or what a person made of it, in
        `mode`; like `turn`. Raises UsageError when it is empty."""
        self._must_be_idle()
        message = accepting_message(self._recorder.state, plan, mode)
        task = "\n".join(self._recorder.state.planning_messages)
        self.gate.plan, self.gate.mode = False, mode
        return await self._take_turn(lambda: message, task=task or plan)

    async def _take_turn(
        self, make_message: Callable[[], UserMessage], *, task: str | None = None
    ) -> TurnFinished:
        self._must_be_idle()
        turn = self._turn = asyncio.create_task(self._run_turn(make_message, task))
        self._timed_out, timeout = False, self._services.limits.timeout
        timer = asyncio.get_running_loop().call_later(timeout, self._time_out) if timeout else None
        try:
            await asyncio.wait([turn])
        except asyncio.CancelledError:
            turn.cancel()
            await asyncio.wait([turn])
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if turn.cancelled():  # before it began
            return self._end_turn(_interrupted())
        return turn.result()

    def cancel(self) -> None:
        """Stop the turn, which then ends as interrupted."""
        if self._turn is not None:
            self._turn.cancel()

    def steer(self, text: str) -> UserMessage:
        """Queue a message for the running turn, before its next reply; returns the message.

        Raises UsageError for one that no context holds, or whose skill can no longer be read.
        """
        _must_fit(text)
        message = self._user_message(text).model_copy(update={"origin": "steer"})
        self._state.steering.append(message)
        return message

    def withdraw(self, message: UserMessage) -> bool:
        """Take back a steering message; False when the model already has it."""
        try:
            self._state.steering.remove(message)
        except ValueError:
            return False
        return True

    def set_mode(self, mode: Mode) -> None:
        """Change what may run without asking, from the next call on."""
        self.gate.mode = mode

    def permissions(self) -> list[Permission]:
        """The rules in force, and where each is kept. Reads files; raises UsageError."""
        readable = self.settings.trusted and not self.settings.project_problem
        return permissions(self.gate.rule_set, self.root, trusted=readable)

    async def revoke(self, permission: Permission) -> None:
        """Take a rule out of force and out of its file. Raises LagunaError."""
        await revoke_rule(self.gate, permission, self._services.emit)

    def set_check(self, command: str | None) -> None:
        """Set the check of every task from the next turn on, or none."""
        self._state.check = self.settings.check = command

    async def background_jobs(self) -> int:
        """How many of the model's commands still run in the background."""
        return len(await asyncio.to_thread(running_calls, self._services.tool_context))

    def carried_over(self, settings: Settings) -> Settings:
        """Settings for the next session of the same interface: with the mode, the planning, the
        check and the rules that a person has set in this one."""
        configured = self.gate.rule_set.of("everywhere")
        policy = settings.config.policy.model_copy(update={"rules": configured})
        return replace(
            settings,
            mode=self.gate.mode,
            plan=self.gate.plan,
            check=self._state.check or "",
            config=settings.config.model_copy(update={"policy": policy}),
            given=settings.given | {"plan"},
        )

    # --- between turns ----------------------------------------------------------------------

    async def start(self) -> None:
        """Put the static prefix and what is on record into the prompt, once."""
        if self._started:
            return
        await start_conversation(
            self._services,
            self._state,
            self._window,
            self.settings,
            self._notices,
            resumed=self._resumed,
        )
        self._started = True

    async def compact(self, guidance: str = "") -> bool:
        """Summarise the conversation and continue in a new epoch; False where that would be no
        shorter, and nothing is changed. Raises LagunaError.

        Cancelling leaves the conversation as it was.
        """
        await self.start()
        compacted = await self._window.compact(guidance, by_hand=True)
        self.trajectory.sync()
        return compacted

    async def rewind(self, seq: int, *, code: bool) -> list[str]:
        """Go back to before user message `seq`, with the files if `code`; into plan mode if it was
        sent in that, or accepted a plan.

        Returns the files that were restored. Raises LagunaError, also while a turn runs.
        """
        self._must_be_idle()
        await self.start()
        target, _ = self._recorder.turn_before(seq)
        planned = self._recorder.planned_before(seq)
        steps = await asyncio.to_thread(self.steps_since, seq) if code else []
        taken: Taken | None = None
        if steps:
            taken, _ = await undo_files(self._services, self._state, steps)
        self._recorder.record(Rewound(to_seq=target, code=code))
        for notice in left_notices(taken) if taken is not None else []:
            self._recorder.emit(notice)
        read_state.forget_all(self._services.tool_context)
        self._window.rewind_to_prefix()
        await self._window.reenter()
        adopt_record(self._services, self._state)
        self.gate.plan = self.gate.plan or planned
        self._memory.rewound(target)
        self.trajectory.sync()
        return [item.path for item in taken.done] if taken is not None else []

    async def undo(
        self, number: int = 1, *, turns: Collection[str] = (), redo: bool = False
    ) -> Taken:
        """Take back what turns of this session changed: the last `number`, or those of `turns`, by
        their `Origin.turn`. With `redo`, make again what undos took back, chosen likewise. The
        model reads of it with the next message.

        Raises LagunaError, also while a turn runs.
        """
        self._must_be_idle()
        if self._resumed:
            await self.start()  # the record says what the model knows
        self._close_open_calls()
        steps = choose(await asyncio.to_thread(self.steps), number, turns=turns, redo=redo)
        taken, note = await undo_files(self._services, self._state, steps)
        if note is not None:
            self._recorder.record(note)
            self._window.add_recorded(note)
            self._memory.remember()
        self.trajectory.sync()
        return taken

    async def aclose(self) -> None:
        """Stop the turn, end the shell, release the engine and close the record."""
        self.cancel()
        for resource in self._services.tool_context.resources:
            with suppress(Exception):
                await resource.aclose()
        with suppress(Exception):
            for text in await self._services.watch.aclose():
                self._services.emit(Notice(level="warning", text=text))
        with suppress(Exception):
            await self.conversation.aclose()
        with suppress(LagunaError):
            self._record_settings()
        self._memory.close()
        if self.trajectory.last_seq:
            self.trajectory.close()
        else:  # nobody said anything
            self.trajectory.discard()

    # --- inside -----------------------------------------------------------------------------

    def _time_out(self) -> None:
        self._timed_out = True
        self.cancel()

    def _must_be_idle(self) -> None:
        if self.busy:
            raise UsageError("a turn is running", hint="Stop it first.")

    def _user_message(self, text: str, context: str = "") -> UserMessage:
        """A person's message; the text of the skill that it calls ends its context."""
        text = self._services.without_keys(text)  # of `!env`, for one
        skill = called_skill(text, self.skills)
        if skill is None:
            return UserMessage(text=text, context=context)
        try:
            instructions = skill_context(skill, self.pack.limits.result_chars)
        except (OSError, ValueError) as error:
            raise UsageError(f"the skill {skill.name} cannot be read: {error}") from error
        return UserMessage(text=text, context="\n\n".join(filter(None, [context, instructions])))

    async def _run_turn(
        self, make_message: Callable[[], UserMessage], task: str | None
    ) -> TurnFinished:
        """Run a turn to its end, whatever happens in it."""
        try:
            message = make_message()
            await self.start()
            self._close_open_calls()
            recorded = self._recorder.state
            if not recorded.user_messages:
                memories = await self._memory.recall_for(message.text, self.conversation)
                self._state.first_message_variables["memory"] = memories
            finished = await self._loop.run(
                message,
                task=message.text if task is None else task,
                after_interruption=recorded.last_status == "interrupted",
            )
            for notice in self._window.new_template_notices():
                self._recorder.emit(notice)
        except asyncio.CancelledError:
            finished = _interrupted()
        except LagunaError as error:
            log_error("the turn ended with an error", error)
            finished = TurnFinished(status="error", error=str(error))
        except Exception as error:
            finished = TurnFinished(status="error", error=unexpected(error))
        return self._end_turn(finished)

    def _end_turn(self, finished: TurnFinished) -> TurnFinished:
        """Record the end of a turn, durably, before it is shown."""
        if self._timed_out and finished.status == "interrupted":
            why = f"not done after {self._services.limits.timeout:g} s (--timeout)"
            finished = finished.model_copy(update={"status": "limit", "error": why})
        finished.checkpoint = self._state.last_checkpoint or ""
        try:
            self._recorder.record(finished)
            self._memory.remember()
            self.trajectory.sync()
        except LagunaError as error:
            self._recorder.show(
                Notice(level="error", text=f"The end of this turn could not be recorded: {error}")
            )
        self._recorder.show(finished)
        return finished

    def _record_settings(self) -> None:
        """Record what a person has set after the last turn."""
        if (recorded := self._recorder.state.settings) is None:
            return
        now = set_since(settings_now(self._services, self._state), recorded, self.settings)
        if now != recorded:
            self._recorder.record(SettingsChanged(settings=now))

    def _close_open_calls(self) -> None:
        """Record results for calls that the last turn left without one."""
        for result in self._recorder.state.missing_results:
            self._recorder.record(result)
            self._window.add_recorded(result)


def _must_fit(text: str) -> None:
    if len(text) > MOST_MESSAGE_CHARS:
        raise UsageError(
            f"the message has {len(text):,} characters, and {MOST_MESSAGE_CHARS:,} is the most",
            hint="Put it into a file, and name the file in the message.",
        )


def _interrupted() -> TurnFinished:
    return TurnFinished(status="interrupted", error="interrupted")


def _open_trajectory(settings: Settings, root: Path) -> tuple[Trajectory, bool]:
    """The trajectory to append to, and whether it is one that is resumed. Raises UsageError."""
    if not (settings.resume or settings.fork or settings.continue_last):
        return Trajectory.create(root, session_id=settings.session), False
    with SessionIndex(root) as index:
        if settings.continue_last:
            path = index.latest()
            if path is None:
                raise UsageError("there is no session in this repository to continue")
        else:
            path = index.resolve(settings.resume or settings.fork or "")
    if settings.fork:
        return Trajectory.fork(path, root), True
    return Trajectory.open(path), True
