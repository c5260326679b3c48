"""Runs of a suite: what they record, how they go on after an interruption, and their report."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.cli import main
from laguna_agent.evaluation import report
from laguna_agent.evaluation.failures import CLASSES, Effort, classify
from laguna_agent.evaluation.results import Result, load_results, load_run
from laguna_agent.evaluation.statistics import mcnemar, median, wilson
from laguna_agent.programs import python_command
from support.model_server import ModelServer
from support.packs import write_files

from .conftest import CODE, FIX, Evaluate

Captured = pytest.CaptureFixture[str]


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_with_the_attempts_that_are_missing(
    evaluate: Evaluate, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out"
    first = evaluate(FIX, "--repeats", "3")
    lines = (out / "results.jsonl").read_text().splitlines(keepends=True)
    (out / "results.jsonl").write_text(lines[0] + lines[1][:40])
    capsys.readouterr()
    again = evaluate(FIX, "--repeats", "3")
    shown = capsys.readouterr().err
    assert "1 of 3 attempts have a result already" in shown
    assert "[  3/3]" in shown
    timeless = {"duration_s": 0.0}
    assert [r.model_copy(update=timeless) for r in first] == [
        r.model_copy(update=timeless) for r in again
    ]


def test_a_folder_of_another_run_is_left_alone(
    suite: Path, evaluate: Evaluate, tmp_path: Path, capsys: Captured
) -> None:
    evaluate(FIX)
    command = ["eval", str(suite), "--agent-command", FIX, "--out", str(tmp_path / "out")]
    assert main([*command, "--seed", "7"]) == 2
    assert "holds another run (seed differ)" in capsys.readouterr().err
    (suite / "fix/files/ledger.py").write_text("changed\n")
    assert main(command) == 2
    assert "suite_sha256" in capsys.readouterr().err
    files = write_files(tmp_path / "mine-too", {"a.txt": "keep\n"})
    assert main([*command[:-1], str(files)]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_killed_ten_times_has_the_results_of_one_that_was_not(
    suite: Path, tmp_path: Path
) -> None:
    command = f"{FIX}; [ $(ls | wc -l) = 2 ] && sleep 0.3"
    arguments = ["eval", str(suite), "--agent-command", command, "--repeats", "12", "--out"]
    for kills in range(11):
        process = subprocess.Popen(
            python_command("laguna_agent.cli", *arguments, str(tmp_path / "killed")),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        if kills < 10:
            for line in process.stderr:
                if line.startswith("["):
                    break
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == 0
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    whole, killed = (load_results(tmp_path / name) for name in ("whole", "killed"))
    zero = {"duration_s": 0.0}
    assert len(whole) == 12
    assert sorted(r.model_copy(update=zero).model_dump_json() for r in killed) == sorted(
        r.model_copy(update=zero).model_dump_json() for r in whole
    )


@pytest.mark.slow
async def test_laguna_is_judged_with_its_trajectory_and_its_tokens(
    suite: Path, tmp_path: Path, laguna_home: Path
) -> None:
    async def write(exchange: Any) -> None:
        arguments = json.dumps({"path": "ledger.py", "content": CODE.replace("<=", "<")})
        function = {"name": "write", "arguments": arguments}
        call = {"index": 0, "id": "c1", "type": "function", "function": function}
        await exchange.open()
        await exchange.delta(tool_calls=[call])
        await exchange.delta("tool_calls")
        await exchange.done(prompt_tokens=100, completion_tokens=20)

    async def answer(exchange: Any) -> None:
        await exchange.open()
        await exchange.delta(content="Fixed.")
        await exchange.delta("stop")
        await exchange.done(prompt_tokens=150, completion_tokens=3)

    async with ModelServer(write, answer) as server:
        url = f'[providers.here]\nurl = "{server.url}"\n'
        write_files(laguna_home / "config", {"config.toml": url})
        out = tmp_path / "out"
        command = ["eval", str(suite), "--model", "here/coder", "--out", str(out), "--jobs", "2"]
        assert await asyncio.to_thread(main, command) == 0
    [result] = load_results(out)
    assert result.passed, result
    assert result.status == "done"
    assert result.usage.completion_tokens == 23
    assert result.calls["write"] == 1
    assert result.trajectory is not None
    assert (out / result.trajectory).is_file()
    assert not [p for p in (laguna_home / "state").iterdir() if p.name.startswith("repository-")]


def test_a_local_model_gets_one_task_at_a_time(suite: Path, capsys: Captured) -> None:
    assert main(["eval", str(suite), "--model", "starter", "--jobs", "2"]) == 2
    assert "a local model uses all cores" in capsys.readouterr().err


def test_the_report_stands_alone_and_links_to_the_trajectories(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    evaluate("echo '<script>' >&2; true")
    found = [
        Result(task="a", variant="one", repeat=0, seed=0, passed=True, tags=("fix",),
               trajectory="trajectories/a/events.jsonl", duration_s=3),
        Result(task="a", variant="<b>", repeat=0, seed=0, passed=False, failure="limit"),
    ]  # fmt: skip
    page = report.render(load_run(tmp_path / "out"), found, report.pairings(found))
    assert not re.findall(
        r"(?:src|href)=[\"']?(?:https?:|//|/)|@import|<script|<link|<b>against", page
    )
    assert 'href="trajectories/a/events.jsonl"' in page
    assert "&lt;b&gt;" in page
    assert "McNemar" in page
    assert (tmp_path / "out/report.html").is_file()


def test_the_report_says_what_a_smaller_limit_would_have_given() -> None:
    times = [(3.0, True), (15.0, True), (16.0, True), (20.0, False), (41.0, True)]
    found = [
        Result(task=str(n), variant="one", repeat=0, seed=0, passed=ok, duration_s=took)
        for n, (took, ok) in enumerate(times)
    ]
    assert report.within(found) == [(5, 1), (10, 1), (15, 2), (20, 3), (30, 3), (45, 4)]
    assert report.within([]) == [(5, 0)]


def test_two_runs_are_compared_on_the_tasks_that_both_have(
    evaluate: Evaluate, tmp_path: Path, capsys: Captured
) -> None:
    evaluate(FIX, out=tmp_path / "good")
    evaluate("true", out=tmp_path / "bad")
    capsys.readouterr()
    assert main(["eval", "--compare", str(tmp_path / "good"), str(tmp_path / "bad"), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["only_first"] == ["fix"]
    assert (compared["both"], compared["neither"], compared["p"]) == (0, 0, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt = ", "Invalid value"),
        ('prompt = "x"', "verify: Field required"),
        ('prompt = "x"\nverify = [{}]', "exactly one of: run, python, file, unchanged"),
        ('prompt = "x"\nverify = [{run = "a", file = "b"}]', "exactly one of"),
        ('prompt = "x"\ntimout = 3\nverify = [{run = "a"}]', "timout: Extra inputs"),
        ('prompt = "x"\nverify = [{run = "a", with_files = {b = "../c"}}]', "no file ../c"),
        ('prompt = "x"\nbundle = "b"\nverify = [{run = "a"}]', "no file b"),
    ],
)
def test_a_mistake_in_a_task_is_named_with_its_file(
    suite: Path, text: str, message: str, capsys: Captured
) -> None:
    (suite / "fix/task.toml").write_text(text)
    assert main(["eval", str(suite), "--check-suite"]) == 2
    shown = capsys.readouterr().err
    assert "fix/task.toml" in shown
    assert message in shown
    assert len(shown.strip().split("\n")) <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smok"], "Did you mean `smoke`?"),
        (["/"], "holds no task"),
        ([], "a suite is missing"),
        (["smoke", "--task", "add-a-flg"], "Did you mean `add-a-flag`?"),
        (["smoke", "--tag", "rust"], "Tags: config,"),
        (["smoke", "--repeats", "0"], "`0` is not a whole number from 1 on"),
        (["smoke", "--timeout", "0"], "--timeout must be above 0"),
        (["--compare", "/", "/"], "holds no evaluation"),
    ],
)
def test_a_wrong_command_line_says_what_to_do(
    arguments: list[str], message: str, capsys: Captured
) -> None:
    assert main(["eval", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_task_whose_set_up_fails_ends_the_run_with_its_words(
    suite: Path, capsys: Captured, tmp_path: Path
) -> None:
    task = (suite / "fix/task.toml").read_text()
    (suite / "fix/task.toml").write_text(f'setup = "echo no disk >&2; exit 3"\n{task}')
    command = ["eval", str(suite), "--agent-command", "true", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    shown = capsys.readouterr().err
    assert "the set-up of fix failed (exit 3)\nno disk" in shown


def test_a_task_without_its_programs_is_left_out(
    suite: Path, evaluate: Evaluate, capsys: Captured
) -> None:
    task = (suite / "fix/task.toml").read_text()
    write_files(suite, {"rust/task.toml": f'needs = ["no-such-compiler"]\n{task}'})
    assert len(evaluate(FIX)) == 1
    assert "rust is left out: no-such-compiler is missing" in capsys.readouterr().err


DONE, LOOP = {"status": "done"}, {"status": "limit", "error": "the model only repeats itself"}
CHECKED = {"status": "done", "check": {"exit_code": 0}}


@pytest.mark.parametrize(
    ("result", "effort", "flags", "expected"),
    [
        (DONE, Effort(), {}, "announces and stops"),
        (DONE, Effort(changes=1), {}, "wrong"),
        (
            DONE | {"check": {"exit_code": 0}},
            Effort(changes=1),
            {},
            "wrong though its check passed",
        ),
        (DONE, Effort(changes=1, failed_changes=3), {}, "stale edits"),
        (DONE, Effort(changes=1), {"tests_changed": True}, "edits tests"),
        ({"status": "failed"}, Effort(changes=1), {}, "gives up"),
        ({"status": "denied"}, Effort(), {}, "denied"),
        ({"status": "error"}, Effort(), {}, "error"),
        (LOOP, Effort(), {}, "repeats itself"),
        ({"status": "limit", "error": "no progress: the same"}, Effort(), {}, "repeats itself"),
        ({"status": "limit", "error": "50 steps"}, Effort(), {}, "limit"),
        ({}, Effort(), {"timed_out": True}, "limit"),
        ({}, Effort(), {}, "wrong"),
    ],
)
def test_a_failure_has_a_class(
    result: dict[str, Any], effort: Effort, flags: dict[str, bool], expected: str
) -> None:
    flags = {"timed_out": False, "tests_changed": False} | flags
    assert classify(result, effort, **flags) == expected
    assert expected in CLASSES


def test_the_statistics_are_those_of_the_textbooks() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == pytest.approx(1.0)
    assert round(mcnemar(1, 8), 4) == 0.0391
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1.0
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    assert median([]) is None
