"""Events as a session makes them."""

from __future__ import annotations

from laguna_agent.actions import RunCommand
from laguna_agent.events import (
    ApprovalGiven,
    ApprovalRequested,
    Checkpointed,
    CheckRan,
    Decision,
    Event,
    PlanStep,
    PlanUpdated,
    Reply,
    SessionStarted,
    StepStarted,
    SystemNote,
    SystemPrompt,
    ToolCall,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnStarted,
    Usage,
    UserMessage,
)


def started(session: str = "s", repository: str = "/r") -> SessionStarted:
    return SessionStarted(
        session=session,
        repository=repository,
        cwd=repository,
        model={"name": "tiny", "sha256": "0" * 64, "format": "laguna"},
        sampling={"temperature": 0.0},
        seed=7,
        pack={"name": "base", "sha256": "1" * 64},
        versions={"laguna": "0.1.0"},
        mode="auto",
    )


def system() -> SystemPrompt:
    tool = {"name": "shell", "description": "Run.", "parameters": {"type": "object"}}
    return SystemPrompt(text="You are laguna.", tools=[tool], tokens=3, token_ids=[1, 2, 3])


def call(call_id: str, name: str = "shell", **arguments: object) -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=arguments, raw=f"<{name}>")


def reply(*calls: ToolCall, text: str = "", prompt: list[int], ids: list[int]) -> Reply:
    return Reply(
        text=text,
        tool_calls=list(calls),
        finish_reason="tool_calls" if calls else "stop",
        prompt_token_ids=prompt,
        token_ids=ids,
        temperature=0.0,
        usage=Usage(prompt_tokens=len(prompt), completion_tokens=len(ids)),
    )


def result(call_id: str, content: str = "ok", **fields: object) -> ToolFinished:
    return ToolFinished.model_validate(
        {"call_id": call_id, "name": "shell", "ok": True, "content": content} | fields
    )


def session() -> list[Event]:
    """A turn in which a test is run, a file is changed, and the test passes."""
    action = RunCommand(command="pytest -q", cwd="/r")
    return [
        started(),
        system(),
        TurnStarted(turn=1),
        UserMessage(text="Fix calc.add\u2028today; never touch the tests.", context="Date: today"),
        Checkpointed(id="c1", files=2),
        StepStarted(step=1),
        reply(call("a", command="pytest -q"), prompt=[10, 11, 12], ids=[20, 21]),
        ApprovalRequested(
            call_id="a",
            tool="shell",
            action=action,
            decision=Decision(verdict="ask", rule="default"),
        ),
        ApprovalGiven(call_id="a", answer="once"),
        ToolStarted(call_id="a", name="shell", title="pytest -q"),
        result("a", "1 failed\nassert 3 == 4\n", exit_code=1, ok=False, title="pytest -q"),
        PlanUpdated(
            steps=[PlanStep(text="find", status="done"), PlanStep(text="fix", status="active")]
        ),
        SystemNote(text="The check failed.", reason="check"),
        StepStarted(step=2),
        reply(
            call("b", "edit", path="calc.py", old="a - b", new="a + b"),
            text="The bug is in calc.add because it subtracts.",
            prompt=[13, 14],
            ids=[22, 23, 24],
        ),
        result(
            "b",
            "edited",
            name="edit",
            title="Edit calc.py",
            diff="--- a\n+++ b\n-a - b\n+a + b\n",
            files_changed=["calc.py"],
        ),
        CheckRan(command="pytest -q", exit_code=0, output="1 passed"),
        reply(text="Done.", prompt=[15], ids=[25]),
        TurnFinished(status="done", summary="add adds", steps=2, files_changed=["calc.py"]),
    ]
