"""Checks that the installed llama.cpp runs on this machine.

Some compilers build libraries that crash on the machine they were built for, so the check runs in
a process of its own: `selftest_process`.
"""

from __future__ import annotations

import subprocess
from signal import Signals

from laguna_agent.programs import python_command

_LIMIT_S = 180


def fault() -> str:
    """What went wrong, as a predicate (`fails: …`); an empty string when nothing did."""
    try:
        done = subprocess.run(
            python_command("laguna_agent.models.engine.selftest_process"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        return f"does not decode a few tokens within {_LIMIT_S} s"
    if done.returncode < 0:
        return f"is killed by {Signals(-done.returncode).name}"
    if done.returncode:
        return "fails: " + (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return ""
