"""Standard streams that are closed, full or not UTF-8, and arguments that no file can have."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from laguna_agent.cli import COMMANDS, main
from laguna_agent.interfaces.headless import read_task

Captured = pytest.CaptureFixture[str]
LAGUNA = f"{sys.executable} -m laguna_agent.cli"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", line], env={**os.environ, **environment}, capture_output=True, check=False
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
def test_an_object_is_one_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding=encoding))
    directory = "/naïve/✓/😀/\udce9"  # the last is a byte that is not UTF-8
    assert main(["--task", "x", "-C", directory, "--output", "json"]) == 2
    sys.stdout.flush()
    sys.stderr.flush()
    result = json.loads(out.getvalue().decode(encoding))
    assert result["error"] == f"there is no directory {directory}"
    assert err.getvalue().startswith(b"laguna: there is no directory /na")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252:strict"])
def test_marks_that_a_terminal_lacks_are_escaped(encoding: str, tmp_path: Path) -> None:
    line = f"cd {shlex.quote(str(tmp_path))}; {LAGUNA} --help; {LAGUNA} prompts list"
    done = shell(line, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"base" in done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "{laguna} --version >&-",
        "{laguna} trust --show >&- 2>&-",
        "{laguna} --task - --output json <&- >&- 2>&-; true",
        "{laguna} prompts show --file pack.toml base | head -1",
    ],
)
def test_a_closed_or_lost_output_is_no_traceback(line: str, tmp_path: Path) -> None:
    command = f"set -o pipefail; cd {shlex.quote(str(tmp_path))}; {line.format(laguna=LAGUNA)}"
    done = shell(command)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        return
    for line in (f"{LAGUNA} --version > /dev/full", f"{LAGUNA} trust --show > /dev/full"):
        done = shell(f"cd {shlex.quote(str(tmp_path))}; {line}")
        assert done.returncode == 1
        assert done.stderr.startswith(b"laguna: No space left on device")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["trust"],
        ["undo"],
        ["sessions", "list"],
        ["memory", "list"],
        ["prompts", "list"],
        ["--task", "x"],
        ["--task", "x", "--output", "json"],
    ],
)
def test_a_directory_that_was_deleted_is_said(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith("laguna: the current directory does not exist any more\n")
    assert bool(out) is ("json" in arguments)


LONG = "a" * 5000


@pytest.mark.parametrize(
    "arguments",
    [
        ["--task", "x", "--resume", LONG],
        ["--task", "x", "--fork", f"./{LONG}"],
        ["--task", "x", "-C", LONG],
        ["--task", "x", "--pack", f"./{LONG}"],
        ["--task", "x", "--model", f"{LONG}.gguf"],
        ["--task", "x", "--model", LONG],
        ["--task", "x", f"--{LONG}"],
        ["--task", "x", LONG],
        ["sessions", "show", LONG],
        ["memory", "show", LONG],
        ["models", "show", LONG],
        ["models", "import", f"/{LONG}"],
        ["prompts", "show", LONG],
        ["prompts", "new", LONG],
        ["prompts", "show", "base", "--file", LONG],
        ["undo", LONG],
        ["trust", "-C", LONG],
        ["models", LONG],
    ],
)
def test_names_that_no_file_can_have_are_two_short_lines(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) in (1, 2, 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "unexpected" not in err
    assert 1 <= len(err.splitlines()) <= 3
    assert len(err) < 2000


@pytest.mark.parametrize("command", ["sessions", "memory", "models", "prompts"])
def test_a_nul_in_a_name_is_an_unknown_name(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert command in COMMANDS
    monkeypatch.chdir(tmp_path)
    assert main([command, "show", "a\0b"]) in (1, 2, 3)
    assert "unexpected" not in capsys.readouterr().err


def test_a_task_is_read_as_text_whatever_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_task("caf\udce9 au lait") == "caf\N{REPLACEMENT CHARACTER} au lait"
    stdin = io.TextIOWrapper(io.BytesIO("\N{ZERO WIDTH NO-BREAK SPACE}fix it\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert read_task("-") == "fix it"
