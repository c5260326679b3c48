"""One session that an editor has open: opens the agent's, takes prompts, changes its settings.

The model loads in the background from the start, so that `session/new` answers at once; the first
prompt waits for it. Updates are sent only while a prompt is worked on, since clients expect none at
other times, but for those that answer a change of settings.
"""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import Any

from acp import RequestError, schema

from laguna_agent.actions import Mode
from laguna_agent.agent.approval import Approval
from laguna_agent.agent.session import Session
from laguna_agent.agent.settings import Settings
from laguna_agent.config import Config
from laguna_agent.errors import LagunaError
from laguna_agent.events import (
    ApprovalRequested,
    Event,
    Notice,
    Reply,
    ToolFinished,
    TurnFinished,
    UserMessage,
)
from laguna_agent.interfaces.acp import commands, options, permissions
from laguna_agent.interfaces.acp.client import Client, shows_terminal_output
from laguna_agent.interfaces.acp.content import Block, prompt_text
from laguna_agent.interfaces.acp.editor_files import AcpFiles
from laguna_agent.interfaces.acp.stored_sessions import replay
from laguna_agent.interfaces.acp.updates import UpdateStream
from laguna_agent.trajectory.meta import title_of

CLOSING_S = 5.0
_LIMITS: dict[str, schema.StopReason] = {
    "steps": "max_turn_requests",
    "tokens": "max_tokens",
    "context": "max_tokens",
}


class AcpSession:
    """`session_id` is that of its record. Ends with `aclose`."""

    def __init__(self, session_id: str, settings: Settings, client: Client) -> None:
        self.id = session_id
        self._settings = settings
        self._client = client
        self.updates = self._new_updates()
        self._session: Session | None = None
        self._opening: asyncio.Task[Session] | None = None
        self._work: asyncio.Task[schema.PromptResponse] | None = None
        self._cancelled = False
        self._changing = asyncio.Lock()
        """Held while settings change, or the session closes: what was sent later comes later."""
        self._closed = False
        self._calls_left = 0
        """Calls of the last reply that have not ended."""
        self._titled = settings.resume is not None
        self._mode: Mode = settings.mode
        self._plan = settings.plan
        self._mode_given = False
        self._shown_config: Config | None = None
        """The settings of a session that goes on, until it is open and has them itself."""

    def send(self, update: Any) -> None:
        """Send an update of this session."""
        self._client.update(self.id, update)

    def _new_updates(self) -> UpdateStream:
        terminals = shows_terminal_output(self._client.capabilities)
        return UpdateStream(self.send, self._settings.cwd, terminals=terminals)

    # --- opening and closing ----------------------------------------------------------------

    def start(self) -> None:
        """Open the session in the background, and tell the editor the commands.

        Call it when the answer that names the session is about to be sent.
        """
        self._open()
        asyncio.get_running_loop().call_soon(self.send, commands.available())

    def go_on(self, directory: Path, *, replayed: bool) -> None:
        """Take over from the record of a session, and send all of it if `replayed`.

        It is read at once: the updates must be out before the answer. Raises LagunaError, and
        RequestError where the updates of a turn would come in between.
        """
        if replayed:
            self._must_be_idle()
            self.updates = self._new_updates()
        kept = replay(directory, self.updates.show if replayed else None)
        if replayed:
            self.updates.settle()
        if kept is None or self._session is not None:
            return
        config = self._settings.config
        changes: dict[str, Any] = {}
        if kept.model and "model" not in self._settings.given:
            changes["model"] = kept.model
        if kept.thinking is not None and "thinking" not in self._settings.given:
            changes["thinking"] = kept.thinking
        self._shown_config = config.model_copy(update=changes)
        self._plan = self._plan or (kept.plan and "plan" not in self._settings.given)

    async def aclose(self) -> None:
        """Stop what runs and close the session."""
        self._closed = True
        self.cancel()
        await _stopped(self._work)
        async with self._changing:
            await self._close()

    def _open(self) -> asyncio.Task[Session]:
        if self._opening is None:
            files = AcpFiles(self._client, self.id, asyncio.get_running_loop())
            opening = Session.open(
                self._settings, on_event=self._show, approver=self._approve, editor=files
            )
            self._opening = asyncio.create_task(opening)
            self._opening.add_done_callback(_retrieved)
        return self._opening

    async def _opened(self) -> Session:
        """The open session. Raises LagunaError; the next call tries again."""
        opening = self._open()
        try:
            session = await asyncio.shield(opening)
        except LagunaError:
            self._opening = None
            raise
        if self._session is None:
            self._session = session
            self._settings = session.settings
            self._shown_config = None
            if session.settings.project_problem:
                problem = Notice(level="warning", text=session.settings.project_problem)
                self.updates.show(problem)
            if session.skills:
                self.send(commands.available(session.skills))
            if not self._mode_given and session.gate.plan != self._plan:
                self._plan = session.gate.plan
                self._send_mode()
            self._apply_mode()
        return session

    async def _close(self) -> None:
        session, self._session = self._session, None
        opening, self._opening = self._opening, None
        await _stopped(opening)
        if session is None and opening is not None:
            with suppress(BaseException):
                session = opening.result()
        if session is not None:
            with suppress(Exception):
                await asyncio.wait_for(session.aclose(), CLOSING_S)

    # --- prompts ----------------------------------------------------------------------------

    async def prompt(self, blocks: list[Block]) -> schema.PromptResponse:
        """Take a turn. Raises RequestError, LagunaError when it ends with an error."""
        while self._work is not None and not self._work.done():
            if not self._cancelled:
                self._must_be_idle()
            await asyncio.wait([self._work])
        self._cancelled = False
        work = self._work = asyncio.create_task(self._take(blocks))
        await asyncio.wait([work])
        if work.cancelled() or (self._cancelled and work.exception() is not None):
            return schema.PromptResponse(stop_reason="cancelled")
        response = work.result()
        if self._cancelled:
            response.stop_reason = "cancelled"
        return response

    def cancel(self) -> None:
        """Stop the prompt that is worked on, wherever it is; nothing without one."""
        if self._work is None or self._work.done():
            return
        self._cancelled = True
        if self._session is not None and self._session.busy:
            self._session.cancel()
        else:
            self._work.cancel()

    @property
    def _prompting(self) -> bool:
        return self._work is not None and not self._work.done()

    def _must_be_idle(self) -> None:
        if self._prompting:
            raise _busy()

    async def _take(self, blocks: list[Block]) -> schema.PromptResponse:
        text = prompt_text(blocks, self._settings.cwd)
        if not text:
            raise RequestError(-32602, "the prompt is empty")
        try:
            async with self._changing:
                session = await self._opened()
            if (command := commands.command_of(text)) is not None:
                message = commands.message_of(command[0])
                if message is None:
                    return await self._run_command(session, *command)
                text = message
            finished = await session.turn(text)
            if session.proposed_plan:
                finished = await self._decide_on_plan(session, finished)
        finally:
            self.updates.settle()
        if finished.status == "error":
            raise LagunaError(finished.error or "the turn ended with an error")
        self._send_usage(session)
        return _response(finished)

    async def _decide_on_plan(self, session: Session, planned: TurnFinished) -> TurnFinished:
        """Let the user accept the plan that was proposed, and carry it out; else go on planning."""
        plan = session.proposed_plan
        mode = await permissions.ask_about_plan(self._client, self.id, self.updates, plan)
        if mode is None:
            return planned
        self._mode, self._plan, self._mode_given = mode, False, True
        self._send_mode()
        return await session.accept_plan(plan, mode)

    async def _run_command(
        self, session: Session, name: str, argument: str
    ) -> schema.PromptResponse:
        try:
            self.updates.say(await commands.run(session, name, argument))
        except LagunaError as error:
            self.updates.say(str(error))
        self._send_usage(session)
        return schema.PromptResponse(stop_reason="end_turn")

    def _show(self, event: Event) -> None:
        if not self._prompting or isinstance(event, UserMessage):  # which the editor shows itself
            if isinstance(event, UserMessage) and not self._titled:
                self._titled = True
                self.send(
                    schema.SessionInfoUpdate(
                        session_update="session_info_update", title=title_of(event.text)
                    )
                )
            return
        self.updates.show(event)
        match event:
            case Reply():
                self._calls_left = len(event.tool_calls)
            case ToolFinished():
                self._calls_left -= 1
            case _:
                return
        # Clients that write trajectories take this for the end of a step.
        if self._calls_left <= 0 and self._session is not None:
            self._send_usage(self._session)

    def _send_usage(self, session: Session) -> None:
        conversation = session.conversation
        self.send(
            schema.UsageUpdate(
                session_update="usage_update", used=conversation.used, size=conversation.limit
            )
        )

    async def _approve(self, request: ApprovalRequested) -> Approval:
        call_id = self.updates.call_id(request.call_id)
        if call_id is None:
            call_id = self.updates.announce(request.call_id, request.tool, request.tool)
        answer = await permissions.ask(self._client, self.id, call_id, request)
        if answer is None:
            self.cancel()
            return Approval("no")
        return answer

    # --- settings ---------------------------------------------------------------------------

    @property
    def modes(self) -> schema.SessionModeState:
        """The modes, and the present one."""
        return options.mode_state(self._mode, plan=self._plan)

    @property
    def config_options(self) -> list[options.ConfigOption]:
        """The options with their present values."""
        config = self._shown_config or self._settings.config
        return options.config_options(config, self._mode, plan=self._plan)

    def set_mode(self, mode_id: str) -> None:
        """Change the mode, from the next call on. Raises RequestError."""
        if mode_id == options.PLAN:
            self._plan = True
        elif (mode := options.mode_of(mode_id)) is not None:
            self._mode, self._plan = mode, False
        else:
            raise RequestError(-32602, f"there is no mode `{mode_id}`")
        self._mode_given = True
        self._apply_mode()
        asyncio.get_running_loop().call_soon(self._send_mode)

    async def set_option(self, key: str, value: str) -> list[options.ConfigOption]:
        """Change an option; returns all. Raises RequestError, LagunaError."""
        if key == "mode":
            self.set_mode(value)
            return self.config_options
        idle = not self._prompting  # a prompt that comes later waits
        async with self._changing:
            if self._closed:
                raise RequestError(-32600, "the session is closed")
            present = self._shown_config or self._settings.config
            config = await asyncio.to_thread(options.changed, present, key, value)
            if config is None:
                raise RequestError(-32602, f"`{value}` is no value of `{key}`")
            if config == present:
                return self.config_options
            if not idle:
                raise _busy()
            await self._reopen(config, key)
            return self.config_options

    async def _reopen(self, config: Config, key: str) -> None:
        """Close the session and open it again with another configuration."""
        settings = self._settings
        changes: dict[str, Any] = {"config": config, "given": settings.given | {key}}
        if self._session is not None:
            settings = self._session.carried_over(settings)
            policy = {"policy": settings.config.policy}
            changes["config"] = config.model_copy(update=policy)
            has_messages = bool(self._session.conversation_state.user_messages)
            resume = self.id if has_messages else None
            changes |= {"resume": resume, "session": None if resume else self.id}
        await self._close()
        self._settings = dataclasses.replace(settings, **changes)
        self._shown_config = None
        self._open()

    def _apply_mode(self) -> None:
        if self._session is not None:
            self._session.set_mode(self._mode)
            self._session.gate.plan = self._plan

    def _send_mode(self) -> None:
        """Tell the editor the mode, in both of the protocol's forms."""
        self.send(
            schema.CurrentModeUpdate(
                session_update="current_mode_update", current_mode_id=self.modes.current_mode_id
            )
        )
        self.send(
            schema.ConfigOptionUpdate(
                session_update="config_option_update", config_options=self.config_options
            )
        )


async def _stopped(task: asyncio.Task[Any] | None) -> None:
    """Stop what is not done yet."""
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CLOSING_S)


def _busy() -> RequestError:
    return RequestError(-32600, "a turn is running in this session: cancel it first")


def _response(finished: TurnFinished) -> schema.PromptResponse:
    reason: schema.StopReason = "end_turn"
    if finished.status == "limit":
        reason = "max_turn_requests"
        for word in (finished.error or "").split():
            reason = _LIMITS.get(word, reason)
    elif finished.status == "interrupted":
        reason = "cancelled"
    used = finished.usage
    return schema.PromptResponse(
        stop_reason=reason,
        usage=schema.Usage(
            input_tokens=used.prompt_tokens,
            output_tokens=used.completion_tokens,
            cached_read_tokens=used.reused_tokens,
            total_tokens=used.prompt_tokens + used.completion_tokens,
        ),
        field_meta={
            "laguna.status": finished.status,
            "laguna.filesChanged": finished.files_changed,
        },
    )


def _retrieved(opening: asyncio.Task[Session]) -> None:
    """The next prompt raises what opening raised."""
    if not opening.cancelled():
        opening.exception()
