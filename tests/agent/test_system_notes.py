"""Messages that laguna adds for the model, in turns of a real session with a scripted model: every
message of the pack, when it is due and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from laguna_agent.agent.approval import Approval
from laguna_agent.events import Notice, Reply, SystemNote, ToolFinished, TurnFinished, UserMessage
from laguna_agent.models.chat.generic import GenericFormat
from laguna_agent.models.conversation import ModelInfo, ToolSpec
from laguna_agent.models.engine.interface import Engine
from laguna_agent.models.local_conversation import LocalConversation
from support.packs import write_files
from support.scripted import ScriptedConversation, call, take

Opened = Callable[..., Any]
CHECK = "grep -q fixed code.txt"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repo", {"code.txt": "broken\n", "notes.txt": "n\n"})


@pytest.fixture
def opened(opened: Opened, tmp_path: Path) -> Opened:
    """Opens sessions; `packs` are files of packs that override the built-in ones."""

    async def make(
        script: list[Any], packs: dict[str, str] | None = None, **more: Any
    ) -> tuple[Any, ScriptedConversation]:
        own = write_files(tmp_path / "packs", packs or {})
        made: tuple[Any, ScriptedConversation] = await opened(script, directories=[own], **more)
        return made

    return make


def notes(events: list[Any], reason: str) -> list[str]:
    return [e.text for e in events if isinstance(e, SystemNote) and e.reason == reason]


def reminder(name: str, on: str, more: str = "") -> str:
    return f'[reminders.{name}]\non = "{on}"\ntext = "<{name} {{{{ step }}}}>"\n{more}\n'


WRITE = call("write", path="new.txt", content="x\n")


# --- reminders --------------------------------------------------------------------------------


async def test_reminders_come_after_an_edit_a_failed_command_and_every_n_steps(
    opened: Opened,
) -> None:
    text = "".join(
        [
            reminder("edited", "after_edit"),
            reminder("failed", "after_failed_command"),
            reminder("often", "every_n_steps", "every = 2"),
            "[reminders.steps]\nenabled = false\n",
        ]
    )
    script = [
        call("read", path="code.txt"),
        call("shell", command="exit 3"),
        WRITE,
        call("shell", command="true"),
        call("done", summary="ok"),
    ]
    session, conversation = await opened(script, {"base/pack.toml": text})
    events = await take(session, "Do it")
    assert notes(events, "reminder") == ["<failed 2>", "<often 2>", "<edited 3>", "<often 4>"]
    assert all(note in conversation.prompt for note in notes(events, "reminder"))


async def test_a_reminder_that_fails_is_a_notice_and_the_turn_goes_on(opened: Opened) -> None:
    text = "[reminders.x]\non = 'after_edit'\ntext = '{{ step.foo.bar }}'\n"
    session, _ = await opened([WRITE, call("done", summary="ok")], {"base/pack.toml": text})
    events = await take(session, "Do it")
    assert events[-1].status == "done"
    [notice] = [event.text for event in events if event.type == "notice"]
    assert notice.startswith("The reminder x of the prompt pack is left out: ")


async def test_a_before_done_reminder_delays_the_end_once(opened: Opened) -> None:
    packs = {"base/pack.toml": reminder("sure", "before_done")}
    done = call("done", summary="ok")
    session, _ = await opened([done], packs)
    events = await take(session, "Do it")
    assert notes(events, "reminder") == ["<sure 1>"]
    assert (events[-1].status, events[-1].summary, events[-1].steps) == ("done", "ok", 2)
    assert len([e for e in events if isinstance(e, ToolFinished)]) == 2
    again = await take(session, "And again")
    assert notes(again, "reminder") == ["<sure 1>"]


async def test_a_before_done_reminder_delays_a_text_answer_only_after_changes(
    opened: Opened,
) -> None:
    packs = {"base/pack.toml": reminder("sure", "before_done")}
    session, _ = await opened([Reply(text="It adds.")], packs)
    events = await take(session, "What does it do?")
    assert (notes(events, "reminder"), events[-1].steps) == ([], 1)
    session, _ = await opened([WRITE, Reply(text="Written.")], packs)
    events = await take(session, "Write it")
    assert notes(events, "reminder") == ["<sure 2>"]
    assert (events[-1].status, events[-1].steps) == ("done", 3)


# --- the task's check -------------------------------------------------------------------------


async def test_a_note_says_that_the_check_passed_when_the_model_ran_it(opened: Opened) -> None:
    packs = {"base/check_passed.md": "<passes: {{ command }}>"}
    script = [
        call("shell", command=CHECK),
        call("write", path="code.txt", content="fixed\n"),
        call("shell", command=CHECK),
        call("done", summary="ok"),
    ]
    script.insert(1, call("read", path="code.txt"))
    session, _ = await opened(script, packs, check=CHECK)
    events = await take(session, "Fix it")
    assert notes(events, "check") == [f"<passes: {CHECK}>"]
    assert events[-1].status == "done"


@pytest.mark.slow
async def test_restored_tests_are_named(opened: Opened, workspace: Path) -> None:
    write_files(workspace, {"test_it.sh": "grep -q fixed code.txt\n"})
    packs = {"base/check_failed.md": "<put back: {{ tests_changed | join(' ') }}>"}
    script = [
        call("shell", command="echo true > test_it.sh; touch other"),
        call("write", path="new.txt", content="x\n"),
        Reply(text="I am done."),
    ]
    session, conversation = await opened(script, packs, check="bash test_it.sh")
    await take(session, "Fix it")
    assert "<put back: test_it.sh>" in conversation.prompt


# --- denials, limits, interruptions -----------------------------------------------------------


async def test_a_denial_uses_the_packs_words(opened: Opened) -> None:
    packs = {"base/denied.md": "<no {{ tool }}: {{ reason }}>"}
    script = [call("shell", command="touch x"), Reply(text="then not")]
    session, conversation = await opened(script, packs, mode="ask")
    await take(session, "Make x")
    assert "<no shell: this needs approval (" in conversation.prompt

    async def no(request: Any) -> Approval:
        return Approval("no", "not here")

    session, conversation = await opened(script, packs, mode="ask", approver=no)
    await take(session, "Make x")
    assert "<no shell: The user said no: not here>" in conversation.prompt
    hook = {"on": "before_tool", "command": "echo never >&2; exit 2"}
    session, conversation = await opened(script, packs, flags={"hooks": [hook]})
    await take(session, "Make x")
    assert "<no shell: a hook said no: never>" in conversation.prompt


async def test_a_note_says_when_three_steps_are_left(opened: Opened) -> None:
    packs = {"base/limit.md": "<{{ steps_left }} left>"}
    session, _ = await opened(
        [lambda n=n: call("shell", command=f"echo {n}") for n in range(9)],
        packs,
        flags={"limits": {"steps": 8}},
    )
    events = await take(session, "Count")
    assert notes(events, "limit") == ["<3 left>"]
    assert events[-1].status == "limit"
    session, _ = await opened([call("read", path="code.txt")], flags={"limits": {"steps": 3}})
    assert notes(await take(session, "Look"), "limit") == []


async def test_a_note_says_once_that_the_turn_was_interrupted(opened: Opened) -> None:
    packs = {"base/interrupted.md": "<stopped>"}

    def stop() -> Reply:
        session.cancel()
        return call("shell", command="sleep 60")

    session, conversation = await opened([stop, Reply(text="yes?"), Reply(text="ok")], packs)
    assert (await take(session, "Wait"))[-1].status == "interrupted"
    events = await take(session, "Continue")
    assert notes(events, "interrupted") == ["<stopped>"]
    assert conversation.prompt.index("<stopped>") < conversation.prompt.index("Continue")
    assert notes(await take(session, "And on"), "interrupted") == []


async def test_an_interruption_is_known_after_resuming(opened: Opened) -> None:
    def stop() -> Reply:
        session.cancel()
        return call("shell", command="sleep 60")

    session, _ = await opened([stop])
    await take(session, "Wait")
    await session.aclose()
    resumed, conversation = await opened([Reply(text="ok")], resume=session.trajectory.id)
    assert len(notes(await take(resumed, "Continue"), "interrupted")) == 1
    assert conversation.prompt.index("The user stopped you") < conversation.prompt.index("Continue")


# --- later turns ------------------------------------------------------------------------------


async def test_a_later_turn_reports_what_the_user_changed_and_not_what_the_model_did(
    opened: Opened, workspace: Path
) -> None:
    async def yes(request: Any) -> Approval:
        return Approval("once")

    session, conversation = await opened([WRITE, Reply(text="ok"), Reply(text="ok")], approver=yes)
    await take(session, "Write it")
    write_files(workspace, {"notes.txt": "mine\n"})
    events = await take(session, "Continue")
    [message] = [event for event in events if isinstance(event, UserMessage)]
    assert message.context == "Changed since your last step, not by you:\nnotes.txt"
    assert conversation.prompt.endswith("notes.txt\n\nContinue")
    [quiet] = [e for e in await take(session, "And on") if isinstance(e, UserMessage)]
    assert quiet.context == ""


# --- instructions -----------------------------------------------------------------------------


async def test_a_notice_names_instructions_that_are_cut(opened: Opened, workspace: Path) -> None:
    write_files(workspace, {"lib/AGENTS.md": "line\n" * 5000, "lib/x.py": "x = 1\n"})
    session, _ = await opened([call("read", path="lib/x.py"), Reply(text="ok")], trusted=True)
    events = await take(session, "Look at it")
    cut = [e.text for e in events if isinstance(e, Notice) and "lib/AGENTS.md has" in e.text]
    assert len(cut) == 1
    assert "instructions_chars" in cut[0]


# --- hooks ------------------------------------------------------------------------------------


def hook(on: str, command: str, **more: Any) -> dict[str, Any]:
    return {"hooks": [{"on": on, "command": command, **more}]}


async def test_a_message_that_a_hook_refuses_never_reaches_the_model_or_the_record(
    opened: Opened,
) -> None:
    flags = hook("on_prompt", "grep -q hunter2 && { echo a password >&2; exit 2; } || true")
    session, conversation = await opened([Reply(text="ok")], flags=flags)
    events = await take(session, "Use hunter2")
    assert (events[-1].status, events[-1].error) == (
        "denied",
        "a hook refused this message: a password",
    )
    assert "hunter2" not in conversation.prompt
    assert "hunter2" not in session.trajectory.path.read_text()
    assert (await take(session, "Then without"))[-1].status == "done"
    assert conversation.prompt.count("Directory:") == 1


async def test_steering_messages_pass_through_hooks_too(opened: Opened) -> None:
    def steer() -> Reply:
        session.steer("Use hunter2")
        session.steer("Be quick")
        return call("read", path="code.txt")

    flags = hook("on_prompt", 'grep -q hunter2 && exit 2; echo \'{"add": "<added>"}\'')
    session, conversation = await opened([steer, Reply(text="ok")], flags=flags)
    events = await take(session, "Look")
    assert "hunter2" not in conversation.prompt
    assert any(isinstance(e, Notice) and "refused your message" in e.text for e in events)
    assert conversation.prompt.count("<added>") == 2
    assert "Be quick" in conversation.prompt


async def test_hooks_add_text_after_a_tool_and_continue_the_turn(opened: Opened) -> None:
    flags = {
        "hooks": [
            *hook("after_tool", 'echo \'{"add": "<linted>"}\'', tools=["write"])["hooks"],
            *hook("turn_end", 'test -e more || echo \'{"continue": "<more>"}\'')["hooks"],
        ]
    }
    script = [WRITE, call("done", summary="one"), call("shell", command="touch more"),
              call("done", summary="two")]  # fmt: skip
    session, conversation = await opened(script, flags=flags)
    events = await take(session, "Write it")
    assert notes(events, "hook") == ["<linted>", "<more>"]
    assert (events[-1].summary, events[-1].status) == ("two", "done")
    assert len([e for e in events if isinstance(e, TurnFinished)]) == 1
    assert conversation.prompt.index("<linted>") < conversation.prompt.index("<more>")


async def test_a_hook_cannot_allow_what_the_policy_denies(opened: Opened) -> None:
    flags = hook("before_tool", "echo '{\"allow\": true}'")
    session, _ = await opened(
        [call("shell", command="touch x"), Reply(text="no")], flags=flags, mode="ask"
    )
    events = await take(session, "Make x")
    [result] = [event for event in events if isinstance(event, ToolFinished)]
    assert not result.ok
    failed = [e for e in events if isinstance(e, Notice) and e.level == "error"]
    assert "its output is not an answer" in failed[0].text


async def test_a_failing_hook_is_shown_and_the_turn_continues(opened: Opened) -> None:
    flags = hook("before_tool", "sleep 60", timeout=0.2)
    session, _ = await opened([WRITE, call("done", summary="ok")], flags=flags)
    async with asyncio.timeout(60):
        events = await take(session, "Write it")
    shown = [e.text for e in events if isinstance(e, Notice) and "took longer than" in e.text]
    assert len(shown) == 2
    assert events[-1].status == "done"


# --- the chat format --------------------------------------------------------------------------


async def test_a_departure_from_the_chat_template_is_shown_once(opened: Opened) -> None:
    def more() -> Reply:
        conversation.template_notes.append("it refuses some turns")
        return Reply(text="ok")

    session, conversation = await opened([Reply(text="ok"), more, Reply(text="ok")])
    conversation.template_notes = ["it shows no calls"]
    for expected in (["it shows no calls"], ["it refuses some turns"], []):
        events = await take(session, "Continue")
        shown = [e.text for e in events if isinstance(e, Notice) and e.text.startswith("Chat")]
        assert shown == [f"Chat format: {reason}." for reason in expected]
        assert isinstance(events[-1], TurnFinished)
    assert session.trajectory.path.read_text().count("it shows no calls") == 1


def test_a_local_conversation_gives_the_template_notes_of_its_format() -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    )
    form = GenericFormat(template, model_name="x")
    info = ModelInfo(name="x", format="generic", context=1)
    conversation = LocalConversation(cast(Engine, None), form, info)
    before = len(conversation.template_notes)
    form.render_start("Be brief.", [ToolSpec(name="t", description="", parameters={})])
    assert [r for r in conversation.template_notes[before:] if "no known form of calls" in r]
    assert [r for r in conversation.template_notes if "no system text" in r]
