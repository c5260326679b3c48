"""Runs command lines in one real bash, with or without the gate."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from laguna_agent.actions import Decision, RunCommand
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.sandbox import NoSandbox


def run_in_bash(commands: Sequence[str], cwd: Path, *, terminal: bool = False) -> str:
    """Run command lines in one bash, as the persistent shell does."""
    script = "".join(f"eval {_quoted(command)} </dev/null\n" for command in commands)
    argv = ["bash", "--norc", "--noprofile", "-c", "shopt -s expand_aliases\n" + script]
    if terminal:
        argv = ["script", "-qec", shlex.join(argv), "/dev/null"]
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=NoSandbox().environment(),
        capture_output=True,
        timeout=20,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def run_gated(gate: Gate, commands: Sequence[str], cwd: Path, approved: int) -> list[Decision]:
    """Run the commands that the gate allows, and the first `approved` ones."""
    decisions = []
    passed = []
    for index, command in enumerate(commands):
        decision = gate.decide(RunCommand(command=command, cwd=str(cwd)), tool="shell")
        decisions.append(decision)
        if decision.verdict == "allow" or index < approved:
            passed.append(command)
            gate.command_ran(command)
    if passed:
        run_in_bash(passed, cwd)
    return decisions


def copied(tree: Path, to: Path) -> Path:
    """A copy of a workspace, for an attack that is meant to succeed."""
    shutil.copytree(tree, to, symlinks=True)
    return to


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
