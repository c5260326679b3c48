"""`laguna demo`: a real model on this machine mends a failing test in a temporary copy."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from laguna_agent.agent.settings import Settings
from laguna_agent.config import load_config
from laguna_agent.errors import ExitCode
from laguna_agent.interfaces.headless import run_task
from laguna_agent.paths import repository_state_dir
from laguna_agent.policy.sandbox import make_sandbox

CODE, TEST = "booking.py", "test_booking.py"
CHECK = f"python3 -m unittest -q {TEST}"
TASK = f"A test in {TEST} fails. Find the bug in {CODE} and mend it."


def main(argv: list[str]) -> int:
    """Run the demo; 0 only if the test passes at the end."""
    parser = argparse.ArgumentParser(
        prog="laguna demo",
        description="Let laguna mend a failing test in a temporary copy of a small repository.",
    )
    parser.add_argument("--model", help="the model to use (default: the starter)")
    parser.add_argument("--keep", action="store_true", help="keep the temporary copy")
    options = parser.parse_args(argv)
    directory = Path(tempfile.mkdtemp(prefix="laguna-demo-")).resolve()
    try:
        return int(asyncio.run(_demo(directory, options.model or "starter")))
    finally:
        if options.keep:
            _say(f"\nThe copy is kept in {directory}.")
        else:
            shutil.rmtree(directory, ignore_errors=True)


async def _demo(directory: Path, model: str) -> ExitCode:
    sample = files("laguna_agent.evaluation") / "demo-repository"
    before = {}
    for name in (CODE, TEST):
        before[name] = (sample / name).read_text(encoding="utf-8")
        (directory / name).write_text(before[name], encoding="utf-8")
    _say(f"A repository with two files, {CODE} and {TEST}, in {directory}.")
    _say(f"\n$ {CHECK}\n{_run_check(directory)[1]}\n")
    config = load_config(flags={"model": model, "sampling": {"temperature": 0.0, "seed": 0}})
    probe = make_sandbox(
        workspace=directory, enabled=config.policy.sandbox, network=False, writable=[],
        state_dir=repository_state_dir(directory),
    )  # fmt: skip
    confined = probe.sandbox.name != "none"
    if not confined:
        _say(f"No sandbox here ({probe.reason}); commands run unconfined in that copy only.\n")
    settings = Settings(
        cwd=directory,
        config=config,
        mode="auto" if confined else "allow-all",
        check=CHECK,
    )
    _say(f'$ laguna --task "{TASK}"')
    sys.stdout.flush()
    code = await run_task(TASK, settings, "text")
    after = (directory / CODE).read_text(encoding="utf-8")
    diff = difflib.unified_diff(
        before[CODE].splitlines(), after.splitlines(), f"a/{CODE}", f"b/{CODE}", lineterm=""
    )
    _say("\n" + "\n".join(diff))
    if (directory / TEST).read_text(encoding="utf-8") != before[TEST]:
        _say(f"\n{TEST} was changed, which does not count.")
        return ExitCode.FAILED
    status, output = _run_check(directory)
    _say(f"\n$ {CHECK}\n{output}")
    if status != 0:
        _say("\nThe test still fails.")
        return code if code != ExitCode.DONE else ExitCode.FAILED
    _say("\nThe test passes.")
    return ExitCode.DONE


def _run_check(directory: Path) -> tuple[int, str]:
    """Run the test outside of laguna's own tools, so that nothing but the files decides."""
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "-q", TEST],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
