"""Whether the llama.cpp that is installed runs here at all.

Some compilers build libraries that crash on the machine that they were built for, so a process of
its own finds out: `selftest_process`.
"""

from __future__ import annotations

import subprocess
import sys
from signal import Signals

_LIMIT_S = 180


def fault() -> str:
    """What went wrong in such a process, in a few words; an empty string when nothing did."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "laguna_agent.models.engine.selftest_process"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        return f"does not end a few tokens in {_LIMIT_S} s"
    if done.returncode < 0:
        return f"is ended by {Signals(-done.returncode).name}"
    if done.returncode:
        return "fails: " + (done.stderr.strip().splitlines() or ["for no reason given"])[-1]
    return ""
