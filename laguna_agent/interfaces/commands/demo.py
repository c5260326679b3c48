"""`laguna demo`: a real model on this machine fixes a failing test in a temporary copy."""

from __future__ import annotations

import difflib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from laguna_agent.agent.settings import Settings
from laguna_agent.config import load_config
from laguna_agent.errors import ExitCode
from laguna_agent.interfaces.commands.command_line import Parser, run_async, write_line
from laguna_agent.interfaces.headless import run_task
from laguna_agent.paths import repository_state_dir
from laguna_agent.policy.environment import Inheritance
from laguna_agent.policy.sandbox import SandboxChoice, make_sandbox

CODE, TEST = "booking.py", "test_booking.py"
CHECK = f"python3 -m unittest -q {TEST}"
TASK = f"A test in {TEST} fails. Find the bug in {CODE} and fix it."


def make_parser() -> Parser:
    """The command line of `laguna demo`."""
    parser = Parser(
        prog="laguna demo",
        description="Let laguna fix a failing test in a temporary copy of a small repository.",
        examples=("laguna demo", "laguna demo --model laguna-xs-2.1 --keep"),
    )
    parser.add_argument("--model", metavar="NAME|PATH", default="starter",
                        help="the model to use (default: starter)")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep the temporary copy")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the demo; 0 only if the test passes at the end."""
    options = make_parser().parse_args(argv)
    directory = Path(tempfile.mkdtemp(prefix="laguna-demo-")).resolve()
    try:
        return int(run_async(_demo(directory, options.model)))
    finally:
        if options.keep:
            write_line(f"\nThe copy is kept in {directory}.")
        else:
            shutil.rmtree(directory, ignore_errors=True)


async def _demo(directory: Path, model: str) -> ExitCode:
    sample = files("laguna_agent.evaluation") / "demo-repository"
    before = {}
    for name in (CODE, TEST):
        before[name] = (sample / name).read_text(encoding="utf-8")
        (directory / name).write_text(before[name], encoding="utf-8")
    write_line(f"A repository with two files, {CODE} and {TEST}, in {directory}.")
    config = load_config(flags={"model": model, "sampling": {"temperature": 0.0, "seed": 0}})
    choice = make_sandbox(
        workspace=directory, enabled=config.policy.sandbox, network=False, writable=[],
        state_dir=repository_state_dir(directory), inheritance=Inheritance.of(config),
    )  # fmt: skip
    write_line(f"\n$ {CHECK}\n{_run_check(directory, choice)[1]}\n")
    confined = choice.confined
    if not confined:
        write_line(f"No sandbox ({choice.reason}); commands run without one, in that copy.\n")
    settings = Settings(
        cwd=directory,
        config=config,
        mode="auto" if confined else "allow-all",
        check=CHECK,
    )
    write_line(f'$ laguna --task "{TASK}"')
    code = await run_task(TASK, settings, "text")
    after = (directory / CODE).read_text(encoding="utf-8")
    diff = difflib.unified_diff(
        before[CODE].splitlines(), after.splitlines(), f"a/{CODE}", f"b/{CODE}", lineterm=""
    )
    write_line("\n" + "\n".join(diff))
    if (directory / TEST).read_text(encoding="utf-8") != before[TEST]:
        write_line(f"\nlaguna changed {TEST}, so the result does not count.")
        return ExitCode.FAILED
    status, output = _run_check(directory, choice)
    write_line(f"\n$ {CHECK}\n{output}")
    if status != 0:
        write_line("\nThe test still fails.")
        return code if code != ExitCode.DONE else ExitCode.FAILED
    write_line("\nThe test passes.")
    return ExitCode.DONE


def _run_check(directory: Path, choice: SandboxChoice) -> tuple[int, str]:
    """Run the test without laguna's tools, so that only the files decide."""
    done = subprocess.run(
        choice.sandbox.wrap(["/bin/sh", "-c", CHECK], cwd=directory),
        cwd=directory,
        env=choice.sandbox.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()
