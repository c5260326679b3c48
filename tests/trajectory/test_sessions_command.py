"""`laguna sessions` on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pexpect
import pytest

from laguna_agent.errors import UsageError
from laguna_agent.events import UserMessage
from laguna_agent.interfaces.commands.sessions import main
from laguna_agent.trajectory.store import Trajectory, sessions_dir
from support import sessions as samples
from support.atif import Document

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def session(root: Path) -> str:
    with Trajectory.create(root, session_id="261124-173708-x7qd") as trajectory:
        for event in samples.session():
            trajectory.append(event)
    return trajectory.id


def run(root: Path, action: str, *arguments: str) -> int:
    return main([action, "-C", str(root), *arguments])


def test_list_shows_a_session_on_one_line(root: Path, session: str, capsys: Captured) -> None:
    assert run(root, "list") == 0
    line = capsys.readouterr().out
    for part in (session, "now", "done", "2 steps", "Fix calc.add"):
        assert part in line


def test_list_as_json_is_one_array(root: Path, session: str, capsys: Captured) -> None:
    assert run(root, "list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["id"], row["status"], row["files_changed"]) == (session, "done", ["calc.py"])


def test_list_without_sessions_says_so_on_standard_error(root: Path, capsys: Captured) -> None:
    assert run(root, "list") == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "No sessions" in captured.err


def test_show_prints_what_happened(root: Path, session: str, capsys: Captured) -> None:
    assert run(root, "show", "x7qd") == 0
    out = capsys.readouterr().out
    assert "## e4 User" in out
    assert "never touch the tests" in out
    assert "## e19 Turn ended: done" in out


def test_show_a_range(root: Path, session: str, capsys: Captured) -> None:
    assert run(root, "show", session, "--from", "4", "--to", "4") == 0
    out = capsys.readouterr().out
    assert "## e4 " in out
    assert "## e7 " not in out


def test_replay_steps_through_every_event(root: Path, session: str, capsys: Captured) -> None:
    assert run(root, "show", session, "--replay") == 0
    out = capsys.readouterr().out
    places = [out.index(f"## e{seq} ") for seq in (4, 7, 11, 15, 17, 19)]
    assert places == sorted(places)
    assert out.startswith("## e2 System prompt")


def test_replay_at_a_terminal_waits_for_a_key_at_each_event(root: Path, session: str) -> None:
    command = ["-m", "laguna_agent.cli", "sessions", "show", session, "--replay", "-C", str(root)]
    terminal = pexpect.spawn(
        sys.executable, command, encoding="utf-8", dimensions=(24, 100), timeout=60
    )
    seen = []
    for seq in (2, 4, 5):
        terminal.expect(rf"-- e{seq} of 19: Enter next, q quit -- ")
        seen.append(terminal.before)
        # Nothing more comes until it is asked for.
        with pytest.raises(pexpect.TIMEOUT):
            terminal.expect("Enter next", timeout=0.3)
        terminal.sendline("q" if seq == 5 else "")
    assert "System prompt" in seen[0]
    assert "never touch the tests" in seen[1]
    terminal.expect(pexpect.EOF)
    assert "e7" not in terminal.before
    terminal.close()
    assert terminal.exitstatus == 0


def test_replay_at_a_terminal_ends_after_the_last_event(root: Path, session: str) -> None:
    command = ["-m", "laguna_agent.cli", "sessions", "show", session, "--replay", "-C", str(root)]
    terminal = pexpect.spawn(
        sys.executable, [*command, "--from", "17"], encoding="utf-8", timeout=60
    )
    for seq in (17, 18, 19):
        terminal.expect(rf"-- e{seq} of 19: Enter next, q quit -- ")
        terminal.sendline()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_show_reports_damage(root: Path, session: str, capsys: Captured) -> None:
    path = sessions_dir(root) / session / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert run(root, "show", session) == 0
    assert "cut off after event 18" in capsys.readouterr().err


def test_export_is_a_valid_document(root: Path, session: str, capsys: Captured) -> None:
    assert run(root, "export", session) == 0
    document = Document.model_validate(json.loads(capsys.readouterr().out))
    assert document.session_id == session


@pytest.mark.parametrize(
    ("name", "beginning"), [("a.html", "<!doctype"), ("a.md", "# Fix"), ("a.json", "{")]
)
def test_the_suffix_of_the_file_selects_the_export_format(
    root: Path, session: str, tmp_path: Path, name: str, beginning: str, capsys: Captured
) -> None:
    target = tmp_path / name
    assert run(root, "export", session, "-o", str(target)) == 0
    assert target.read_text().startswith(beginning)
    assert capsys.readouterr().out == ""
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_export_redacted_says_what_was_removed(root: Path, capsys: Captured) -> None:
    secret = "ghp_" + "a1B2" * 9
    with Trajectory.create(root, session_id="one") as trajectory:
        trajectory.append(UserMessage(text=f"token is {secret}"))
    for form in ("atif", "html", "markdown", "jsonl"):
        assert run(root, "export", "one", "--redact", "--format", form) == 0
        captured = capsys.readouterr()
        assert secret not in captured.out
        assert "removed: 1 GitHub token" in captured.err


def test_delete_needs_a_yes_and_is_permanent(root: Path, session: str, capsys: Captured) -> None:
    with pytest.raises(UsageError, match="needs a yes"):
        run(root, "delete", session)
    assert (sessions_dir(root) / session).exists()
    assert run(root, "delete", session, "--yes") == 0
    assert not (sessions_dir(root) / session).exists()
    assert run(root, "list") == 0
    assert capsys.readouterr().out == ""


def test_a_session_in_use_is_not_deleted(root: Path) -> None:
    with (
        Trajectory.create(root, session_id="busy"),
        pytest.raises(UsageError, match="in use"),
    ):
        run(root, "delete", "busy", "--yes")


def test_delete_by_age_keeps_recent_sessions(root: Path, session: str) -> None:
    with pytest.raises(UsageError, match="no session to delete"):
        run(root, "delete", "--older-than", "1", "--yes")
    assert run(root, "delete", "--older-than", "0", "--yes") == 0
    assert not (sessions_dir(root) / session).exists()


def test_wrong_arguments_are_usage_errors(root: Path) -> None:
    for arguments in (["dance"], ["show"], ["show", "nothing"], ["export", "x", "--format", "pdf"]):
        with pytest.raises(UsageError):
            run(root, *arguments) if arguments != ["dance"] else main(arguments)
