"""Confinement of child processes: bubblewrap on Linux, sandbox-exec on macOS, or none, said so.

A sandbox wraps a command line. The child sees the workspace writable and the rest of the machine
read-only, no secrets, its own /tmp, no other process, and no network unless that is allowed.
Inherited file descriptors pass through. A terminal given to the child is not its controlling one,
so it cannot push input into it.

The child dies with the thread that started it: start it from one that lives as long.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.environment import child_environment, secret_names
from laguna_agent.policy.mounts import plan_mounts
from laguna_agent.policy.seatbelt import seatbelt_profile


class NoSandbox:
    """Runs children unconfined; the gate asks instead."""

    name = "none"

    def __init__(self, *, network: bool = True) -> None:
        self._network = network

    def wrap(self, argv: Sequence[str], *, cwd: Path) -> list[str]:
        """`argv` as it is; the caller sets the working directory."""
        return list(argv)

    def exposing(self, directory: Path) -> NoSandbox:
        """Itself: nothing is hidden."""
        return self

    def environment(self) -> dict[str, str]:
        """The process environment without secrets and without what runs programs."""
        return child_environment(network=self._network)


@dataclass
class Bubblewrap:
    """Linux namespaces, laid by bubblewrap when the child starts."""

    workspace: Path
    network: bool = False
    writable: Sequence[Path] = ()
    hidden: Sequence[Path] = ()
    read_only: Sequence[Path] = ()
    cache: Path | None = None
    empty: Path | None = None
    program: str = "bwrap"
    name: str = "bubblewrap"

    def wrap(self, argv: Sequence[str], *, cwd: Path) -> list[str]:
        """`argv` in its own namespaces. A `cwd` outside widens nothing."""
        plan = plan_mounts(
            workspace=self.workspace,
            writable=self.writable,
            hidden=self.hidden,
            read_only=self.read_only,
            network=self.network,
            cache=self.cache,
            empty=self.empty,
        )
        options = [*_NAMESPACES, *([] if self.network else ["--unshare-net"])]
        return [
            *_cleared(),
            self.program,
            *options,
            *plan.arguments(),
            "--chdir",
            sensitive_paths.real(cwd),
            "--",
            *argv,
        ]

    def exposing(self, directory: Path) -> Bubblewrap:
        """A copy that also shows `directory`, read-only: a pipe can be written all the same."""
        return replace(self, read_only=[*self.read_only, directory])

    def environment(self) -> dict[str, str]:
        """The environment for children inside."""
        kept = child_environment(network=self.network)
        if not Path(kept.get("XDG_CACHE_HOME") or sensitive_paths.home() / ".cache").is_dir():
            kept["XDG_CACHE_HOME"] = "/tmp/.cache"
        return kept


_NAMESPACES = (
    "--unshare-user",
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--die-with-parent",
    "--new-session",  # no controlling terminal, so nothing can be typed into it (TIOCSTI)
    "--cap-drop",
    "ALL",
)


@dataclass
class SandboxExec:
    """macOS: a profile for sandbox-exec with the same rules."""

    workspace: Path
    network: bool = False
    writable: Sequence[Path] = ()
    hidden: Sequence[Path] = ()
    read_only: Sequence[Path] = ()
    scratch: Path = Path("/private/tmp")
    program: str = "/usr/bin/sandbox-exec"
    name: str = "sandbox-exec"

    def profile(self) -> str:
        """The profile text."""
        return seatbelt_profile(
            workspace=self.workspace,
            network=self.network,
            writable=[*self.writable, self.scratch],
            hidden=self.hidden,
            read_only=self.read_only,
        )

    def wrap(self, argv: Sequence[str], *, cwd: Path) -> list[str]:
        """`argv` under the profile; the caller sets the working directory."""
        return [*_cleared(), self.program, "-p", self.profile(), *argv]

    def exposing(self, directory: Path) -> SandboxExec:
        """A copy that also shows `directory`, writable: a pipe in it could not be written else."""
        return replace(self, writable=[*self.writable, directory])

    def environment(self) -> dict[str, str]:
        """The environment for children, with a temporary directory of their own."""
        return {**child_environment(network=self.network), "TMPDIR": os.fspath(self.scratch)}


@dataclass(frozen=True)
class SandboxChoice:
    """The sandbox to use, and why it is not a real one (empty when it is)."""

    sandbox: Bubblewrap | SandboxExec | NoSandbox
    reason: str = ""

    @property
    def confined(self) -> bool:
        """Whether children are really confined."""
        return not isinstance(self.sandbox, NoSandbox)


def make_sandbox(
    *,
    workspace: Path,
    enabled: bool,
    network: bool,
    writable: Sequence[Path],
    state_dir: Path,
    hidden: Sequence[Path] = (),
    read_only: Sequence[Path] = (),
) -> SandboxChoice:
    """The best sandbox this machine can give, or `NoSandbox` with the reason in one line.

    `state_dir` is where the children's private caches are kept between runs. `hidden` and
    `read_only` are what path rules deny (`Gate.denied_paths`).
    """
    bare = NoSandbox(network=network)
    if not enabled:
        return SandboxChoice(bare, "the sandbox is switched off (policy.sandbox = false)")
    root = Path(sensitive_paths.real(workspace))
    home = sensitive_paths.real(sensitive_paths.home())
    if sensitive_paths.is_under(home, root) or root == Path("/"):
        return SandboxChoice(
            bare,
            f"the workspace {root} holds your home directory, so nothing in it could be kept safe; "
            "start laguna in a project's own directory",
        )
    for place in (*sensitive_paths.secret_paths(), *sensitive_paths.laguna_directories()):
        if root == place:
            return SandboxChoice(bare, f"the workspace {root} is a place that a sandbox must hide")
    extra = [Path(sensitive_paths.real(os.path.expanduser(path))) for path in writable]
    for path in extra:
        if sensitive_paths.is_under(home, path):
            return SandboxChoice(
                bare, f"policy.writable names {path}, which holds your home directory"
            )
    if sys.platform == "darwin":
        scratch = state_dir / "tmp"
        choice = SandboxExec(
            root, network, extra, hidden, read_only, Path(sensitive_paths.real(scratch))
        )
        if reason := probe_sandbox_exec():
            return SandboxChoice(bare, reason)
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        return SandboxChoice(choice)
    if reason := probe_bubblewrap(shutil.which("bwrap") or ""):
        return SandboxChoice(bare, reason)
    cache = state_dir / "cache"
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    empty = state_dir / "empty"
    if not empty.exists():
        empty.touch(mode=0o444)
    return SandboxChoice(
        Bubblewrap(
            root,
            network,
            extra,
            hidden,
            read_only,
            cache=Path(sensitive_paths.real(cache)),
            empty=Path(sensitive_paths.real(empty)),
        )
    )


@lru_cache(maxsize=4)
def probe_bubblewrap(program: str) -> str:
    """Why bubblewrap cannot be used here, or an empty string. Runs it once per process."""
    if sys.platform != "linux":
        return f"there is no sandbox for {sys.platform}"
    if not program:
        return "bubblewrap is not installed (Debian and Ubuntu: apt install bubblewrap)"
    command = [program, *_NAMESPACES, "--unshare-net", "--ro-bind", "/", "/"]
    command += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--", "true"]
    return _try(command, program)


@lru_cache(maxsize=1)
def probe_sandbox_exec(program: str = "/usr/bin/sandbox-exec") -> str:
    """Why sandbox-exec cannot be used here, or an empty string."""
    if not os.access(program, os.X_OK):
        return f"{program} is missing"
    return _try([program, "-p", "(version 1)(allow default)", "/usr/bin/true"], program)


def _try(command: list[str], program: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=10, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not start: {error}"
    if done.returncode == 0:
        return ""
    said = done.stderr.decode(errors="replace").strip().splitlines()
    detail = said[-1] if said else f"exit status {done.returncode}"
    return f"{program} does not work here ({detail}); user namespaces may be switched off"


def _cleared(environment: Mapping[str, str] | None = None) -> list[str]:
    """Clears what children must not inherit, for callers that pass their own environment on."""
    names = secret_names(environment)
    if not names:
        return []
    return ["/usr/bin/env", *(option for name in names for option in ("-u", name))]
