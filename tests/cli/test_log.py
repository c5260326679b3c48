"""`laguna.log`: what a user can send, and what it never holds."""

from __future__ import annotations

import asyncio
import logging
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from laguna_agent import log
from laguna_agent.actions import Decision, RunCommand
from laguna_agent.cli import main
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.events import (
    ApprovalGiven,
    ApprovalRequested,
    CheckRan,
    Compacted,
    EngineRestarted,
    Event,
    Notice,
    PlanStep,
    PlanUpdated,
    Reply,
    SessionStarted,
    SystemNote,
    SystemPrompt,
    TextDelta,
    ToolCall,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    UserMessage,
)
from support.scripted import call, open_scripted, take

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    yield
    for handler in log.logger.handlers[:]:
        log.logger.removeHandler(handler)
    log.logger.setLevel(logging.NOTSET)


def text() -> str:
    return log.log_path().read_text()


def secretive() -> list[Event]:
    """Events of every kind that carries text of a user, a model, a file or a command."""
    run = RunCommand(command=f"echo {SECRET}", cwd="/")
    rule = Decision(verdict="ask", rule=f'ask command "echo {SECRET}"', reason=SECRET)
    return [
        SessionStarted(
            session="s1", repository=f"/{SECRET}", cwd=f"/{SECRET}", model={"name": "m"},
            sampling={}, seed=0, pack={"name": "base"}, versions={}, mode="ask",
        ),
        SystemPrompt(text=SECRET, tools=[], tokens=5),
        UserMessage(text=SECRET, context=SECRET),
        SystemNote(text=SECRET, reason="plan"),
        Reply(text=SECRET, thinking=SECRET,
              tool_calls=[ToolCall(id="1", name=SECRET, arguments={})]),
        ApprovalRequested(call_id="1", tool="shell", action=run, decision=rule, rule=SECRET),
        ApprovalGiven(call_id="1", answer="no", reason=SECRET),
        ToolStarted(call_id="1", name="shell", title=f"$ echo {SECRET}"),
        ToolFinished(call_id="1", name="shell", ok=False, content=SECRET, title=SECRET,
                     summary=SECRET, diff=SECRET, files_changed=[SECRET], exit_code=1),
        ToolFinished(call_id="2", name=f"read {SECRET}", ok=False, content=SECRET),
        CheckRan(command=f"test {SECRET}", exit_code=1, output=SECRET),
        PlanUpdated(steps=[PlanStep(text=SECRET)]),
        Compacted(summary=SECRET, first_seq=1, last_seq=2, kept_from_seq=3, tokens_before=9,
                  tokens_after=4, guidance=SECRET, opening=SECRET),
        EngineRestarted(reason=SECRET, attempt=1),
        Notice(level="warning", text=SECRET),
        TextDelta(text=SECRET),
        TurnFinished(status="failed", summary=SECRET, error=SECRET, files_changed=[SECRET]),
    ]  # fmt: skip


def test_the_log_tells_how_the_work_went_and_nothing_of_what_it_was_about() -> None:
    log.start(["--task", SECRET, f"--check={SECRET}", "--mode", "auto", "--", f"-{SECRET}"])
    for event in secretive():
        log.log_event(event)
        if isinstance(event, ApprovalRequested):
            log.log_decision("shell", event.decision)
    try:
        raise LagunaError(SECRET, hint=SECRET) from OSError(28, SECRET)
    except LagunaError as error:
        log.log_error("error", error)
    found = text()
    assert SECRET not in found
    for part in (
        "flags: --task --check --mode\n",
        "session s1 started: model m, pack base, mode ask",
        "tool shell: failed, 0.0 s, exit code 1",
        "tool (unknown): failed",
        "shell: ask by ask command\n",
        "approval given: no",
        "compacted: 9 tokens to 4",
        "turn finished: failed",
        "error: LagunaError",
        "OSError [ENOSPC]",
        "cli/test_log.py:",
    ):
        assert part in found


async def test_a_session_is_logged_without_its_texts(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "notes.txt").write_text(f"The password is {SECRET}.\n")
    script = [
        call("read", path="notes.txt"),
        call("shell", command=f"echo {SECRET}"),
        call("write", path="out.txt", content=SECRET),
        Reply(text=f"It is {SECRET}."),
    ]
    log.start(["--task", SECRET])
    session, _ = await open_scripted(workspace, script, mode="allow-all")
    try:
        await take(session, f"What is {SECRET}?")
    finally:
        await session.aclose()
    found = text()
    assert SECRET not in found
    for part in (
        f"session {session.trajectory.id} opened: model scripted",
        "read: allow by mode allow-all",
        "tool read: ok",
        "tool shell: ok",
        "tool write: ok",
        "turn finished: done",
    ):
        assert part in found


@pytest.mark.parametrize(
    ("level", "holds", "lacks"),
    [
        ("debug", ["turn finished with: why", "turn finished: failed", "attempt 1"], []),
        ("info", ["turn finished: failed", "attempt 1"], ["why"]),
        ("warning", ["attempt 1"], ["turn finished", "laguna 0"]),
    ],
)
def test_levels(
    level: str, holds: list[str], lacks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAGUNA_LOG", level)
    log.start([])
    log.log_event(TurnFinished(status="failed", error="why"))
    log.log_event(EngineRestarted(reason="gone", attempt=1))
    assert all(part in text() for part in holds)
    assert not any(part in text() for part in lacks)


def test_verbose_is_debug_and_a_level_that_does_not_exist_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log.start([], verbose=True)
    log.logger.debug("detail")
    assert "DEBUG   detail" in text()
    monkeypatch.setenv("LAGUNA_LOG", "loud")
    with pytest.raises(UsageError, match="LAGUNA_LOG=loud"):
        log.start([])


def test_only_the_user_may_read_it() -> None:
    log.start([])
    assert stat.S_IMODE(log.log_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(log.log_path().parent.stat().st_mode) == 0o700


def test_a_record_is_one_paragraph_without_control_characters() -> None:
    log.start([])
    log.logger.info("one\n2026 two \x1b[31m\r")
    assert text().endswith(" one\n    2026 two \\x1b[31m\\x0d\n")


def test_a_full_log_is_renamed_and_one_older_log_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_BYTES", 1000)
    log.start([])
    for number in range(100):
        log.logger.info("record %d", number)
    old = log.log_path().with_name("laguna.log.1")
    assert log.log_path().stat().st_size <= 1000
    assert old.stat().st_size <= 1000
    assert (old.read_text() + text()).endswith(" record 99\n")
    assert sorted(path.name for path in old.parent.iterdir()) == ["laguna.log", "laguna.log.1"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    log.start([])
    log.log_path().unlink()
    log.log_path().symlink_to(target)
    log.logger.info("x")
    assert target.read_text() == ""


def test_a_state_directory_that_cannot_be_written_is_harmless(
    laguna_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (laguna_home / "state").write_text("a file in its place")
    assert main(["engine", "status"]) == 0
    assert capsys.readouterr().err == ""


WRITER = """
import sys
from laguna_agent import log
log.MAX_BYTES = 20_000
log.start([])
for number in range(300):
    log.logger.info("%s %d %s", sys.argv[1], number, "x" * 20)
"""


async def test_two_processes_write_one_log() -> None:
    """No record is torn, and while one renames the file, the other loses none of its own."""
    names = ("a", "b")
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, name) for name in names
    ]
    assert [await process.wait() for process in processes] == [0, 0]
    old = log.log_path().with_name("laguna.log.1")
    lines = [line for path in (old, log.log_path()) for line in path.read_text().splitlines()]
    records = [line.split()[3:] for line in lines if line.endswith(" " + "x" * 20)]
    assert len(records) >= len(lines) - 2
    for name in names:
        numbers = [int(number) for who, number, _ in records if who == name]
        assert numbers == list(range(300 - len(numbers), 300))


def test_a_command_is_logged_from_start_to_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", "status"]) == 0
    assert main(["--what"]) == 2
    started, ended, again, *rest = text().splitlines()
    assert "INFO    laguna " in started
    assert ": engine, Python 3." in started
    assert ended.endswith("INFO    exit code 0")
    assert again.endswith("flags: --what")
    assert any("UsageError" in line for line in rest)
    assert rest[-1].endswith("INFO    exit code 2")


def test_an_unexpected_error_is_two_lines_at_most_and_names_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from laguna_agent.interfaces.commands import engine

    def fail(_: list[str]) -> int:
        raise KeyError("x")

    monkeypatch.setattr(engine, "main", fail)
    assert main(["engine", "status"]) == 1
    err = capsys.readouterr().err
    assert err == f"laguna: unexpected KeyError: 'x' (details: {log.log_path()})\n"
    assert "laguna_agent/cli.py:" in text()
    assert "ERROR   unexpected error: KeyError" in text()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            PermissionError(13, "Permission denied", "/root/x"),
            "/root/x: Permission denied (details: ",
        ),
        (OSError(28, "No space left on device"), "No space left on device (details: "),
        (OSError(36, "File name too long", "a" * 5000), "a…: File name too long (details: "),
        (KeyError("x"), "unexpected KeyError: 'x' (details: "),
    ],
)
def test_an_error_of_the_system_is_told_in_words(error: Exception, text: str) -> None:
    assert text in log.unexpected(error)
    assert len(log.unexpected(error)) < 600


def test_version_and_help_write_nothing(laguna_home: Path) -> None:
    assert main(["--version"]) == 0
    assert main(["--help"]) == 0
    assert not (laguna_home / "state").exists()
