"""Starts the conversation of a session: the static prefix, or where the record of one ends."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from laguna_agent import __version__
from laguna_agent.agent import plan_mode
from laguna_agent.agent.context.context_window import ContextWindow
from laguna_agent.agent.context.first_message import local_date
from laguna_agent.agent.factory import static_variables
from laguna_agent.agent.services import Services
from laguna_agent.agent.settings import Settings
from laguna_agent.agent.state import SessionState
from laguna_agent.events import (
    Event,
    Notice,
    Reply,
    SessionStarted,
    SystemNote,
    SystemPrompt,
)
from laguna_agent.models.conversation import ToolSpec


async def start_conversation(
    services: Services,
    state: SessionState,
    window: ContextWindow,
    settings: Settings,
    notices: Sequence[Notice],
    *,
    resumed: bool,
) -> None:
    """Put the static prefix and, when resumed, the recorded conversation into the prompt.

    A resumed conversation keeps its system prompt and tools, or nothing of it could be reused,
    unless it was recorded with another model or pack, or declares a tool that is not here.
    `notices` are shown at the start.
    """
    conversation, recorder = services.conversation, services.recorder
    recorded = recorder.state.system if resumed else None
    same_prefix = recorded is not None and _same_prefix(services)
    if recorded is not None and same_prefix:
        system, specs = recorded.text, [ToolSpec.model_validate(tool) for tool in recorded.tools]
    else:
        system, specs = _system_prompt(services)
    tokens = await window.start(system, specs)
    events: list[Event] = [*notices, *window.new_template_notices()]
    if not same_prefix:
        ids = conversation.tokens
        prompt = SystemPrompt(
            text=system,
            tools=[spec.model_dump(mode="json") for spec in specs],
            tokens=tokens,
            token_ids=list(ids) if ids is not None else None,
        )
        events = [_session_started(services, settings), prompt, *events]
    if resumed:
        await _reenter(services, state, window, same_prefix=same_prefix)
    events += [Notice(level="warning", text=problem) for problem in recorder.trajectory.problems]
    for event in events:
        services.emit(event)


def adopt_record(services: Services, state: SessionState) -> None:
    """Set the state of a session to what its record says."""
    recorded = services.recorder.state
    state.last_checkpoint = recorded.last_checkpoint or None
    state.taken_back.clear()
    planned = [
        plan_mode.NOTES[item.event.reason]
        for item in recorded.history
        if isinstance(item.event, SystemNote) and item.event.reason in plan_mode.NOTES
    ]
    state.planning = planned[-1] if planned else services.starts_in_plan_mode
    services.instructions.adopt(recorded.instructions)
    if recorded.settings is not None and recorded.settings.cwd:
        state.first_message_variables["cwd"] = recorded.settings.cwd
    if recorded.user_messages:
        state.first_message_variables["date"] = local_date(recorded.user_messages[-1].ts)


async def _reenter(
    services: Services, state: SessionState, window: ContextWindow, *, same_prefix: bool
) -> None:
    recorded = services.recorder.state
    for result in recorded.missing_results:
        services.recorder.record(result)
    if not same_prefix:
        recorded.token_ids = None
        for stored in recorded.history:
            if isinstance(stored.event, Reply):
                stored.event.token_ids = None
    await window.reenter()
    adopt_record(services, state)
    state.turns = recorded.turns
    state.new_shell = any(
        call.name == "shell"
        for stored in recorded.history
        if isinstance(stored.event, Reply)
        for call in stored.event.tool_calls
    )


def _system_prompt(services: Services) -> tuple[str, list[ToolSpec]]:
    """The text of the static prefix, and the tools that it declares."""
    variables = static_variables(
        services.conversation.info, services.tools, thinking=services.thinking
    )
    specs = [
        ToolSpec(name=tool.name, description=tool.description, parameters=tool.parameters)
        for tool in services.tools.values()
    ]
    return services.pack.system(variables), specs


def _same_prefix(services: Services) -> bool:
    """Whether the session was recorded with this model in this chat format and this pack, and
    declares no tool that is not here."""
    recorded, info = services.recorder.state, services.conversation.info
    started, system = recorded.started, recorded.system
    if started is None or system is None:
        return False
    if not {tool["name"] for tool in system.tools} <= set(services.tools):
        return False
    return (
        info.sha256 is not None
        and started.model.get("sha256") == info.sha256
        and started.model.get("format") == info.format
        and started.pack.get("name") == services.pack.name
    )


def _session_started(services: Services, settings: Settings) -> SessionStarted:
    """The first event of a record: everything needed to reproduce the run."""
    info, trajectory = services.conversation.info, services.recorder.trajectory
    return SessionStarted(
        session=trajectory.id,
        repository=str(services.tool_context.workspace),
        cwd=str(settings.cwd),
        model=info.model_dump(mode="json"),
        sampling=services.sampling.model_dump(mode="json"),
        seed=services.sampling.seed,
        pack={"name": services.pack.name, "sha256": services.pack.sha256},
        versions={
            "laguna": __version__,
            "python": platform.python_version(),
            "engine": info.engine,
        },
        mode=services.gate.mode,
        parent=trajectory.meta.parent,
    )
