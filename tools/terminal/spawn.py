"""Starts bash with pexpect, on a terminal that is not its controlling terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import signal
import subprocess
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import ptyprocess

from laguna_agent.programs import find_program
from laguna_agent.tools.terminal import processes
from laguna_agent.tools.terminal.driver import COMMAND_FD, KEEPER, REPORT_FD
from laguna_agent.tools.tool import Sandbox

_KILL_TIMEOUT = 5.0
_QUIET = {
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PAGER": "cat",
    "MANPAGER": "cat",
    "GIT_PAGER": "cat",
    "SYSTEMD_PAGER": "cat",
    "EDITOR": "true",
    "VISUAL": "true",
    "GIT_EDITOR": "true",
    "GIT_SEQUENCE_EDITOR": "true",
    "GIT_TERMINAL_PROMPT": "0",
    "SSH_ASKPASS_REQUIRE": "never",
    "DEBIAN_FRONTEND": "noninteractive",
    "PIP_NO_INPUT": "1",
    "PYTHONUNBUFFERED": "1",
}
_UNWANTED = re.compile(
    r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|^(BASH_ENV|ENV|BASH_FUNC_.*|PROMPT_COMMAND|PS4|SHELLOPTS|"
    r"BASHOPTS|HISTFILE|LD_PRELOAD|LESSOPEN|.*_ASKPASS|LAGUNA_.*)$",
    re.IGNORECASE,
)


def environment(sandbox: Sandbox | None) -> dict[str, str]:
    """The environment of the shell: no secrets, and nothing that waits for input."""
    if sandbox is not None:
        return {**_QUIET, **sandbox.environment()}
    kept = {name: value for name, value in os.environ.items() if not _UNWANTED.search(name)}
    return {**kept, **_QUIET}


if TYPE_CHECKING:
    _Spawn = pexpect.spawn[bytes]
else:  # generic in its stubs only
    _Spawn = pexpect.spawn


class _Terminal(_Spawn):
    """pexpect's spawn, passing further descriptors to the child."""

    ptyproc: Any

    def __init__(self, argv: Sequence[str], *, kept: Sequence[int], **options: Any) -> None:
        self._kept = kept
        super().__init__(argv[0], list(argv[1:]), **options)
        self.ptyproc.delayafterclose = self.ptyproc.delayafterterminate = 0.0

    def _spawnpty(self, args: list[str], **options: Any) -> ptyprocess.PtyProcess:
        in_child = partial(_in_child, self._kept)
        options["preexec_fn"] = in_child
        return ptyprocess.PtyProcess.spawn(args, pass_fds=self._kept, **options)


@dataclass
class KeeperProcess:
    """A running keeper. The descriptors are this side's ends, non-blocking."""

    terminal: Any
    commands: int
    reports: int
    mark: str
    confined: bool
    """In a sandbox with processes of its own, so that all of them descend from the keeper."""
    watcher: subprocess.Popen[bytes]


def _in_child(kept: Sequence[int]) -> None:
    # Signal handlers of the parent (Textual has one for SIGCONT) must not run here, nor wake up
    # its event loop.
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    # Without a controlling terminal, `sudo` and `ssh` fail at once instead of asking on /dev/tty.
    # Giving it up sends SIGHUP and SIGCONT. Python ignores SIGPIPE, which a child would inherit.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    fcntl.ioctl(0, termios.TIOCNOTTY)
    # bash would open a terminal on descriptor 0 and so regain it.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)
    for descriptor in kept:
        os.set_inheritable(descriptor, True)


def _placed(descriptor: int, at_least: int) -> int:
    """Move a descriptor to `at_least` or above, out of the way of commands."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, at_least)
    os.close(descriptor)
    return moved


def spawn(sandbox: Sandbox | None, workspace: Path, pipes: Path) -> KeeperProcess:
    """Start the keeper in the workspace; the sandbox also exposes the directory `pipes`.

    Raises OSError, pexpect.ExceptionPexpect, or what the sandbox raises.
    """
    bash = find_program("bash")
    if bash is None:
        raise FileNotFoundError("bash is not installed, or only where commands can write")
    mark = secrets.token_hex(8)
    command_read, command_write = os.pipe()
    report_read, report_write = os.pipe()
    # Two redirections move the inherited ends to the numbers that the driver uses.
    command_read, report_write = _placed(command_read, 20), _placed(report_write, 20)
    placing = (
        f"exec {REPORT_FD}>&{report_write} {COMMAND_FD}<&{command_read} "
        f"{report_write}>&- {command_read}<&-; "
    )
    argv = [bash, "--norc", "--noprofile", "-c", placing + KEEPER, "bash", mark]
    watcher = processes.watch(mark)
    try:
        if sandbox is not None:
            argv = sandbox.exposing(pipes).wrap(argv, cwd=workspace)
        terminal = _Terminal(
            argv,
            kept=(command_read, report_write),
            cwd=str(workspace),
            env={**environment(sandbox), processes.MARK: f"{mark}:keeper"},
            echo=False,
            timeout=None,
            dimensions=(24, 120),
        )
    except BaseException:
        os.close(command_write)
        os.close(report_read)
        _stop_watching(watcher)
        raise
    finally:
        os.close(command_read)
        os.close(report_write)
    for descriptor in (command_write, report_read, terminal.child_fd):
        os.set_blocking(descriptor, False)
    confined = sandbox is not None and sandbox.name != "none"
    return KeeperProcess(terminal, command_write, report_read, mark, confined, watcher)


def stop(keeper: KeeperProcess) -> None:
    """Kill the keeper and every process with its mark, and wait for it."""
    if keeper.terminal.isalive():  # else its pid may be that of another process
        os.kill(keeper.terminal.pid, signal.SIGKILL)
    _stop_watching(keeper.watcher)
    deadline = time.monotonic() + _KILL_TIMEOUT
    while keeper.terminal.isalive() and time.monotonic() < deadline:
        time.sleep(0.002)
    with contextlib.suppress(pexpect.ExceptionPexpect):
        keeper.terminal.close(force=False)


def _stop_watching(watcher: subprocess.Popen[bytes]) -> None:
    """Let the watcher kill what is left, and wait for it."""
    assert watcher.stdin is not None
    watcher.stdin.close()
    try:
        watcher.wait(timeout=_KILL_TIMEOUT)
    except subprocess.TimeoutExpired:
        watcher.kill()
        watcher.wait()
