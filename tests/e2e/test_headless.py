"""`laguna --task` as scripts see it: exit codes, and what goes to which stream.

The model is the tiny random Laguna: it says nothing sensible, which is enough here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.synthetic import tiny_laguna

from .conftest import interrupt

KEYS = {
    "schema",
    "session",
    "status",
    "summary",
    "error",
    "steps",
    "duration_s",
    "files_changed",
    "check",
    "denied",
    "usage",
    "model",
    "trajectory",
}


def limited(laguna: Any, *arguments: str, cwd: Path) -> Any:
    """A run that ends at a limit. Now and then a random model ends its reply by itself instead;
    that depends on the seed and on every word of the prompt, such as the directory."""
    for seed in range(12):
        run = laguna(*arguments, "--seed", str(seed), cwd=cwd)
        if run.code:
            break
    return run


@pytest.mark.slow
def test_json_is_exactly_one_object_and_a_limit_exits_with_5(
    laguna: Any, tiny: list[str], tmp_path: Path
) -> None:
    run = limited(laguna, "--task", "Say hello", "--output", "json", *tiny, cwd=tmp_path)
    assert set(run.result) == KEYS
    assert run.result["schema"] == "laguna.result/1"
    assert run.result["status"] == "limit", run.err
    assert run.code == 5
    assert Path(run.result["trajectory"]).is_file()
    assert run.result["model"]["format"] == "laguna"


@pytest.mark.slow
def test_stream_json_ends_with_the_same_object(
    laguna: Any, tiny: list[str], tmp_path: Path
) -> None:
    run = laguna("--task", "-", "--output", "stream-json", *tiny, cwd=tmp_path, stdin="Say hello")
    lines = [json.loads(line) for line in run.out.split("\n") if line]
    assert lines[0]["type"] == "session_started"
    assert set(lines[-1]) == KEYS
    assert {"reply", "turn_finished", "step_started"} <= {line.get("type") for line in lines}
    assert run.err == ""


@pytest.mark.slow
def test_text_puts_progress_on_standard_error_only(
    laguna: Any, tiny: list[str], tmp_path: Path
) -> None:
    run = limited(laguna, "--task", "Say hello", *tiny, cwd=tmp_path)
    assert "laguna: limit:" in run.err
    assert "\x1b" not in run.err


@pytest.mark.slow
def test_nothing_is_written_into_the_repository(
    laguna: Any, tiny: list[str], repository: Callable[[str], Path]
) -> None:
    root = repository("roman")
    laguna("--task", "Say hello", "--mode", "ask", *tiny, cwd=root)
    status = subprocess.run(
        ["git", "status", "--porcelain", "--ignored"], cwd=root, capture_output=True, check=True
    )
    assert status.stdout == b""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", " "], "task is empty"),
        (["--task", "x", "--max-steps", "0"], "--max-steps"),
        (["--task", "x", "--nonsense"], "--nonsense"),
        (["--task", "x", "-C", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--task", "x", "--mode", "sometimes"], "sometimes"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(
    laguna: Any, arguments: list[str], message: str
) -> None:
    run = laguna(*arguments)
    assert run.code == 2
    assert message in run.err
    assert run.out == ""
    assert "Traceback" not in run.err


@pytest.mark.slow
def test_a_bad_configuration_names_file_and_key(laguna: Any, laguna_home: Path) -> None:
    (laguna_home / "config").mkdir(parents=True)
    (laguna_home / "config" / "config.toml").write_text("[engine]\ncontexts = 3\n")
    run = laguna("--task", "x")
    assert run.code == 2
    assert "config.toml" in run.err
    assert "engine.contexts" in run.err


@pytest.mark.slow
def test_without_a_model_the_error_says_how_to_get_one(laguna: Any, tmp_path: Path) -> None:
    run = laguna("--task", "x", "--output", "json", cwd=tmp_path)
    assert run.code == 3
    assert run.result["status"] == "error"
    assert "laguna models pull" in run.result["error"]


@pytest.mark.slow
def test_a_file_that_is_not_a_model_exits_with_3(laguna: Any, tmp_path: Path) -> None:
    path = tmp_path / "not.gguf"
    path.write_text("nothing of the kind")
    run = laguna("--task", "x", "--model", str(path), cwd=tmp_path)
    assert run.code == 3
    assert len(run.err.strip().split("\n")) <= 2
    assert "not.gguf" in run.err


@pytest.mark.slow
def test_an_interrupt_exits_with_130_and_is_on_record(tmp_path: Path, laguna: Any) -> None:
    arguments = ["--task", "Say hello", "--output", "stream-json", "--max-tokens", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "laguna_agent.cli", *arguments, "--model", str(tiny_laguna())],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1].get("type") == "step_started":
            interrupt(process)
    assert process.wait() == 130
    assert lines[-1]["status"] == "interrupted"
    assert "turn_finished" in Path(lines[-1]["trajectory"]).read_text()


@pytest.mark.slow
def test_a_closed_output_pipe_is_no_error(tmp_path: Path, tiny: list[str], laguna: Any) -> None:
    command = [sys.executable, "-m", "laguna_agent.cli", "--task", "x", "--output", "stream-json"]
    process = subprocess.Popen(
        [*command, *tiny],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    assert process.wait() in (0, 1, 4, 5)


PEAK = """
import resource, sys
from pathlib import Path
from laguna_agent.cli import main
main(sys.argv[1:])
status = Path("/proc/self/status")
if status.exists():  # what the parent held at the fork does not count here
    peak = next(l.split()[1] for l in status.read_text().split("\\n") if l.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(f"peak {peak}")
"""


@pytest.mark.slow
def test_the_client_stays_small(tmp_path: Path, tiny: list[str], laguna: Any) -> None:
    command = [sys.executable, "-c", PEAK, "--task", "Say hello", *tiny]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    kilobytes = int(done.stdout.split("peak ")[-1])
    assert 10_000 < kilobytes < 100_000
