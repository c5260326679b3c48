"""Asks the editor's user: for approval, with all four kinds of options, and about a plan."""

from __future__ import annotations

from acp import RequestError, schema

from laguna_agent.actions import Mode, Scope
from laguna_agent.agent.approval import Approval
from laguna_agent.events import ApprovalRequested
from laguna_agent.interfaces.acp.client import Client
from laguna_agent.interfaces.acp.content import text_content
from laguna_agent.interfaces.acp.tool_calls import asked_content, asked_locations
from laguna_agent.interfaces.acp.updates import UpdateStream
from laguna_agent.log import log_error
from laguna_agent.policy.sanitize import visible

_SCOPES: dict[Scope, str] = {
    "session": "in this session",
    "repository": "in this repository",
    "everywhere": "everywhere",
}


def options_for(request: ApprovalRequested) -> list[schema.PermissionOption]:
    """The options of a request. Once comes first, as clients without a person take the first that
    allows; "always" and "never" name their rule, and are there only where a narrow one exists."""
    choices: list[tuple[str, str, schema.PermissionOptionKind]] = [("once", "Allow", "allow_once")]
    rule = visible(request.rule_text, single_line=True)
    scopes = [(scope, where) for scope, where in _SCOPES.items() if scope in request.files]
    for scope, where in scopes:
        choices.append((f"always {scope}", f"Always {where}: {rule}", "allow_always"))
    choices.append(("no", "Reject", "reject_once"))
    for scope, where in scopes:
        if scope != "everywhere":
            choices.append((f"never {scope}", f"Never {where}: {rule}", "reject_always"))
    return [
        schema.PermissionOption(option_id=option, name=name, kind=kind)
        for option, name, kind in choices
    ]


async def ask(
    client: Client, session_id: str, call_id: str, request: ApprovalRequested
) -> Approval | None:
    """Ask about a call; None when the user cancels the turn."""
    content = asked_content(request.action)
    risks = [f"**Risk:** {visible(risk.text, single_line=True)}" for risk in request.risks]
    if request.sandboxed is False:
        risks.append("It runs outside of the sandbox.")
    if risks:
        content.append(text_content("\n\n".join(risks)))
    call = schema.ToolCallUpdate(
        tool_call_id=call_id,
        status="pending",
        content=content,
        locations=asked_locations(request.action),
        raw_input=request.action.model_dump(mode="json"),
    )
    chosen = await choose(client, session_id, call, options_for(request))
    if chosen is None:
        return None
    answer, _, scope = chosen.partition(" ")
    reason = "" if answer else "the editor could not ask the user"
    match answer:
        case "once":
            return Approval("once")
        case "always" | "never" if scope in request.files:
            return Approval(answer, scope=scope)
        case _:
            return Approval("no", reason)


async def choose(
    client: Client,
    session_id: str,
    call: schema.ToolCallUpdate,
    offered: list[schema.PermissionOption],
) -> str | None:
    """The id of the option that the user chooses; None when they cancel the turn, empty when the
    editor cannot ask."""
    params = schema.RequestPermissionRequest(session_id=session_id, tool_call=call, options=offered)
    try:
        answer = await client.request(
            "session/request_permission", params, schema.RequestPermissionResponse
        )
    except (RequestError, ConnectionError, ValueError) as error:
        log_error("the editor answered no question", error)
        return ""
    if isinstance(answer.outcome, schema.DeniedOutcome):
        return None
    return answer.outcome.option_id


_PLAN_OPTIONS: list[tuple[Mode, str, schema.PermissionOptionKind]] = [
    ("ask", "Carry it out, and ask about each change", "allow_once"),
    ("accept-edits", "Carry it out, and accept edits", "allow_always"),
]


async def ask_about_plan(
    client: Client, session_id: str, updates: UpdateStream, plan: str
) -> Mode | None:
    """The mode to carry a proposed plan out in; None to go on planning."""
    call = schema.ToolCallUpdate(
        tool_call_id=updates.announce("plan", "plan", "Carry out this plan?", kind="switch_mode"),
        status="pending",
        content=[text_content(visible(plan))],
    )
    offered = [
        schema.PermissionOption(option_id=mode, name=name, kind=kind)
        for mode, name, kind in _PLAN_OPTIONS
    ]
    offered.append(
        schema.PermissionOption(option_id="no", name="Go on planning", kind="reject_once")
    )
    chosen = await choose(client, session_id, call, offered)
    mode = next((mode for mode, *_ in _PLAN_OPTIONS if mode == chosen), None)
    updates.end("plan", ok=mode is not None)
    return mode
