"""The server of `laguna acp`: the methods of the protocol, and the sessions that are open.

The connection and the models are those of the `acp` package. The table of methods is our own, since
that of the package has no `session/delete` and keeps others behind a flag.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from acp import PROTOCOL_VERSION, RequestError, schema
from pydantic import BaseModel, ValidationError

from laguna_agent import __version__
from laguna_agent.agent.settings import Settings, make_settings
from laguna_agent.config import load_config
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.interfaces.acp import options
from laguna_agent.interfaces.acp.acp_session import CLOSING_S, AcpSession
from laguna_agent.interfaces.acp.client import Client, dumped
from laguna_agent.interfaces.acp.stored_sessions import find_session, list_sessions
from laguna_agent.log import log_error, logger, unexpected
from laguna_agent.trajectory.store import Trajectory, delete_session, new_session_id

Method = Callable[[Any], Awaitable[BaseModel | None]]
_NOT_FOUND = -32002
_MOST_ERRORS = 8
"""Mistakes of one request that are named."""
LOCAL = "local"


class AcpServer:
    """Answers one editor. `flags` is a tree like the configuration, from the command line."""

    def __init__(self, client: Client, flags: Mapping[str, Any]) -> None:
        self._client = client
        self._flags = flags
        self._sessions: dict[str, AcpSession] = {}
        self._unused: set[str] = set()
        """Sessions of this run that may have left nothing on disk, as nothing was said in them."""
        self._methods: dict[str, tuple[type[BaseModel], Method]] = {
            "initialize": (schema.InitializeRequest, self._initialize),
            "authenticate": (schema.AuthenticateRequest, self._authenticate),
            "session/new": (schema.NewSessionRequest, self._new),
            "session/load": (schema.LoadSessionRequest, self._load),
            "session/resume": (schema.ResumeSessionRequest, self._resume),
            "session/fork": (schema.ForkSessionRequest, self._fork),
            "session/list": (schema.ListSessionsRequest, self._list),
            "session/close": (schema.CloseSessionRequest, self._close),
            "session/delete": (schema.DeleteSessionRequest, self._delete),
            "session/prompt": (schema.PromptRequest, self._prompt),
            "session/cancel": (schema.CancelNotification, self._cancel),
            "session/set_mode": (schema.SetSessionModeRequest, self._set_mode),
            "session/set_config_option": (
                schema.SetSessionConfigOptionSelectRequest,
                self._set_option,
            ),
        }

    async def handle(self, method: str, params: Any, is_notification: bool) -> Any:
        """Answer one message. Raises RequestError."""
        model, answer = self._methods.get(method, (None, None))
        if model is None or answer is None:
            if is_notification:  # `$/…` and whatever comes later
                return None
            raise RequestError.method_not_found(method)
        try:
            result = await answer(model.model_validate({} if params is None else params))
        except ValidationError as error:
            errors = error.errors(include_context=False, include_input=False, include_url=False)
            del errors[_MOST_ERRORS:]
            raise RequestError.invalid_params({"errors": errors}) from None
        except LagunaError as error:
            log_error(f"{method} failed", error)
            code = -32602 if isinstance(error, UsageError) else -32603
            raise RequestError(code, str(error)) from None
        except RequestError:
            raise
        except Exception as error:
            raise RequestError(-32603, unexpected(error)) from None
        return {} if result is None else dumped(result)

    async def aclose(self) -> None:
        """Close all sessions, within a few seconds."""
        closing = [asyncio.create_task(one.aclose()) for one in self._sessions.values()]
        self._sessions.clear()
        if closing:
            await asyncio.wait(closing, timeout=2 * CLOSING_S)

    # --- connection -------------------------------------------------------------------------

    async def _initialize(self, request: schema.InitializeRequest) -> schema.InitializeResponse:
        self._client.capabilities = request.client_capabilities or schema.ClientCapabilities()
        info = request.client_info
        logger.info("acp: client %s, protocol %d", info.name if info else "?",
                    request.protocol_version)  # fmt: skip
        return schema.InitializeResponse(
            protocol_version=PROTOCOL_VERSION,
            agent_info=schema.Implementation(name="laguna", title="laguna", version=__version__),
            agent_capabilities=schema.AgentCapabilities(
                load_session=True,
                prompt_capabilities=schema.PromptCapabilities(embedded_context=True),
                mcp_capabilities=schema.McpCapabilities(http=find_spec("mcp") is not None),
                session_capabilities=schema.SessionCapabilities(
                    list=schema.SessionListCapabilities(),
                    delete=schema.SessionDeleteCapabilities(),
                    fork=schema.SessionForkCapabilities(),
                    resume=schema.SessionResumeCapabilities(),
                    close=schema.SessionCloseCapabilities(),
                ),
            ),
            auth_methods=[
                schema.AuthMethodAgent(
                    id=LOCAL,
                    name="A model of your own",
                    description="No sign-in: an installed model (`laguna models pull starter`) or "
                    "a server from config.toml.",
                )
            ],
        )

    async def _authenticate(self, request: schema.AuthenticateRequest) -> None:
        if request.method_id != LOCAL:
            raise RequestError(-32602, f"there is no method `{request.method_id}`")
        config = await asyncio.to_thread(load_config, flags=self._flags)
        if not await asyncio.to_thread(options.current_model, config):
            raise RequestError(-32000, "no model is installed\nlaguna models pull starter")

    # --- sessions ---------------------------------------------------------------------------

    async def _new(self, request: schema.NewSessionRequest) -> schema.NewSessionResponse:
        session_id = new_session_id()
        self._unused.add(session_id)
        session = await self._make(session_id, request, session=session_id)
        found = await asyncio.to_thread(lambda: session.config_options)
        session.start()
        return schema.NewSessionResponse(
            session_id=session_id, modes=session.modes, config_options=found
        )

    async def _load(self, request: schema.LoadSessionRequest) -> schema.LoadSessionResponse:
        session = await self._go_on(request.session_id, request, replayed=True)
        return schema.LoadSessionResponse(
            modes=session.modes, config_options=session.config_options
        )

    async def _resume(self, request: schema.ResumeSessionRequest) -> schema.ResumeSessionResponse:
        session = await self._go_on(request.session_id, request, replayed=False)
        return schema.ResumeSessionResponse(
            modes=session.modes, config_options=session.config_options
        )

    async def _fork(self, request: schema.ForkSessionRequest) -> schema.ForkSessionResponse:
        root, directory = _root(request.cwd), _stored(request.session_id, request.cwd)
        if not (directory / "events.jsonl").stat().st_size:  # a copy of nothing
            made = await self._new(schema.NewSessionRequest(
                cwd=request.cwd, mcp_servers=request.mcp_servers or []))  # fmt: skip
            return schema.ForkSessionResponse(**dict(made))

        def copied() -> str:
            trajectory = Trajectory.fork(directory, root)
            trajectory.close()
            return trajectory.id

        session_id = await asyncio.to_thread(copied)
        session = await self._go_on(session_id, request, replayed=False)
        return schema.ForkSessionResponse(
            session_id=session_id, modes=session.modes, config_options=session.config_options
        )

    async def _list(self, request: schema.ListSessionsRequest) -> schema.ListSessionsResponse:
        if request.cwd is not None:
            _root(request.cwd)
        return await asyncio.to_thread(list_sessions, request.cwd, request.cursor)

    async def _close(self, request: schema.CloseSessionRequest) -> None:
        session = self._open(request.session_id)
        del self._sessions[session.id]
        await session.aclose()

    async def _delete(self, request: schema.DeleteSessionRequest) -> None:
        session = self._sessions.pop(request.session_id, None)
        if session is not None:
            await session.aclose()
        directory = find_session(request.session_id)
        if directory is not None:
            await asyncio.to_thread(delete_session, directory)
            self._unused.discard(request.session_id)
        elif request.session_id not in self._unused:
            raise _unknown(request.session_id)

    async def _go_on(self, session_id: str, request: Any, *, replayed: bool) -> AcpSession:
        """Open a session that is on disk, or take the one that is open."""
        opened = session = self._sessions.get(session_id)
        if session is None:
            directory = _stored(session_id, request.cwd)
            session = await self._make(session_id, request, resume=session_id)
        else:
            found = find_session(session_id)
            if found is None:  # open, and nothing said yet
                session.start()
                return session
            directory = found
        try:
            session.go_on(directory, replayed=replayed)
        except BaseException:
            if opened is None and self._sessions.get(session_id) is session:
                await self._sessions.pop(session_id).aclose()
            raise
        session.start()
        return session

    async def _make(self, session_id: str, request: Any, **settings: Any) -> AcpSession:
        made = await asyncio.to_thread(self._settings, request.cwd, **settings)
        if session_id in self._sessions:  # opened by another request meanwhile
            return self._sessions[session_id]
        made.mcp = options.mcp_servers(request.mcp_servers or [])
        session = self._sessions[session_id] = AcpSession(session_id, made, self._client)
        return session

    def _settings(self, cwd: str, **settings: Any) -> Settings:
        _root(cwd)
        return make_settings(cwd, flags=self._flags, interactive=True, **settings)

    def _open(self, session_id: str) -> AcpSession:
        session = self._sessions.get(session_id)
        if session is None:
            raise _unknown(session_id)
        return session

    # --- a session --------------------------------------------------------------------------

    async def _prompt(self, request: schema.PromptRequest) -> schema.PromptResponse:
        return await self._open(request.session_id).prompt(request.prompt)

    async def _cancel(self, request: schema.CancelNotification) -> None:
        session = self._sessions.get(request.session_id)
        if session is not None:
            session.cancel()

    async def _set_mode(self, request: schema.SetSessionModeRequest) -> None:
        self._open(request.session_id).set_mode(request.mode_id)

    async def _set_option(
        self, request: schema.SetSessionConfigOptionSelectRequest
    ) -> schema.SetSessionConfigOptionResponse:
        session = self._open(request.session_id)
        return schema.SetSessionConfigOptionResponse(
            config_options=await session.set_option(request.config_id, request.value)
        )


def _unknown(session_id: str) -> RequestError:
    return RequestError(_NOT_FOUND, f"there is no session `{session_id[:80]}`")


def _stored(session_id: str, cwd: str) -> Path:
    """The directory of a session of the repository of `cwd`. Raises RequestError."""
    _root(cwd)
    found = find_session(session_id, cwd)
    if found is None:
        raise _unknown(session_id)
    return found


def _root(cwd: str) -> Path:
    """The repository of an absolute directory. Raises RequestError."""
    from laguna_agent.paths import repository_root

    path = Path(cwd)
    if not path.is_absolute() or not os.path.isdir(path):
        raise RequestError(-32602, f"`cwd` is no directory by its absolute path: {cwd[:200]}")
    return repository_root(path)
