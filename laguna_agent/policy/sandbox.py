"""Sandboxes for child processes: bubblewrap on Linux, sandbox-exec on macOS, or none with a reason.

A sandbox wraps a command line. The child gets a writable workspace, a read-only view of the rest
of the machine without secrets, its own /tmp, no other processes, and no network unless allowed.
Inherited file descriptors pass through. A terminal given to the child is not its controlling
terminal, so it cannot push input into it.

The child dies with the thread that started it: start it from a thread that lives as long.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from laguna_agent.atomic_write import atomic_write
from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.environment import BUILT_IN, Inheritance, child_environment, secret_names
from laguna_agent.policy.git_directories import GitDirectories
from laguna_agent.policy.git_layout import git_directories
from laguna_agent.policy.mount_check import checked
from laguna_agent.policy.mounts import MountPlan, plan_mounts
from laguna_agent.policy.sandbox_obstacles import kernel_setting, obstacle
from laguna_agent.policy.seatbelt import seatbelt_profile
from laguna_agent.policy.seccomp import seccomp_filter
from laguna_agent.programs import distrust, find_program


class NoSandbox:
    """Runs children unconfined; the gate asks instead."""

    name = "none"

    def __init__(self, *, network: bool = True, inheritance: Inheritance = BUILT_IN) -> None:
        self._network = network
        self._inheritance = inheritance

    def wrap(self, argv: Sequence[str], *, cwd: Path) -> list[str]:
        """`argv` as it is; the caller sets the working directory."""
        return list(argv)

    def exposing(self, directory: Path) -> NoSandbox:
        """Itself: nothing is hidden."""
        return self

    def protected(self) -> set[object]:
        """Nothing."""
        return set()

    def environment(self) -> dict[str, str]:
        """The process environment without secrets and without variables that run programs."""
        return child_environment(network=self._network, inheritance=self._inheritance)


@dataclass
class Bubblewrap:
    """Linux namespaces that bubblewrap sets up when the child starts."""

    workspace: Path
    network: bool = False
    writable: Sequence[Path] = ()
    hidden: Sequence[Path] = ()
    read_only: Sequence[Path] = ()
    cache: Path | None = None
    empty: Path | None = None
    program: str = "bwrap"
    repositories: GitDirectories | None = None
    inheritance: Inheritance = BUILT_IN
    filter: Path | None = None
    """A file with the seccomp filter; it needs `bash` as an absolute path."""
    bash: str = "/bin/bash"
    stat: str = "/usr/bin/stat"
    secrets: Callable[[], Sequence[Path]] = tuple
    """Finds secret files to hide, as they are now."""
    shown: Sequence[Path] = ()
    name: str = "bubblewrap"

    def __post_init__(self) -> None:
        self._repositories = self.repositories or git_directories(self.workspace, self.writable)

    def wrap(self, argv: Sequence[str], *, cwd: Path) -> list[str]:
        """`argv` in namespaces of its own. A `cwd` outside the workspace widens nothing."""
        options = [*_NAMESPACES, *([] if self.network else ["--unshare-net"])]
        plan = self._plan()
        return [
            *_without_secrets(self.inheritance),
            *_program_with_filter(self.program, self.filter, self.bash),
            *options,
            *plan.arguments(),
            "--chdir",
            sensitive_paths.real(cwd),
            "--",
            *checked(argv, plan.inside, self.bash, self.stat),
        ]

    def exposing(self, directory: Path) -> Bubblewrap:
        """A copy that also shows `directory`, read-only; pipes in it can still be written."""
        return replace(self, shown=[*self.shown, directory])

    def _plan(self) -> MountPlan:
        return plan_mounts(
            workspace=self.workspace,
            writable=self.writable,
            hidden=[*self.hidden, *self.secrets()],
            read_only=self.read_only,
            shown=self.shown,
            network=self.network,
            cache=self.cache,
            empty=self.empty,
            repositories=self._repositories.protected(),
        )

    def protected(self) -> set[object]:
        """What is mounted over, and sockets. When somebody outside replaces such a file or folder,
        its mount is gone, so that a child sees or changes the new one."""
        plan = self._plan()
        found = plan.masked
        root = sensitive_paths.real(self.workspace)
        for path, (kind, _) in plan.mounts.items():
            if kind not in ("hidden", "read-only") or _CHANGES_OFTEN.search(path):
                continue
            with contextlib.suppress(OSError):
                info = os.lstat(path)
                # Inodes are used again, times are not; but those of others' files change anyway.
                precise = sensitive_paths.is_under(path, root) and not stat.S_ISDIR(info.st_mode)
                found.add((path, info.st_ino, info.st_ctime_ns if precise else 0))
        return found

    def environment(self) -> dict[str, str]:
        """The environment for children inside."""
        kept = child_environment(network=self.network, inheritance=self.inheritance)
        if not Path(kept.get("XDG_CACHE_HOME") or sensitive_paths.home() / ".cache").is_dir():
            kept["XDG_CACHE_HOME"] = "/tmp/.cache"
        return kept


_CHANGES_OFTEN = re.compile(r"^/proc/|hist|viminfo|\.claude\.json$")
"""What is hidden and replaced all the time, by shells and editors of the person."""

_NAMESPACES = (
    "--unshare-user",
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--die-with-parent",
    "--new-session",  # no controlling terminal, so no TIOCSTI
    "--cap-drop",
    "ALL",
)


@dataclass
class SandboxExec:
    """The same rules on macOS, as a sandbox-exec profile."""

    workspace: Path
    network: bool = False
    writable: Sequence[Path] = ()
    hidden: Sequence[Path] = ()
    read_only: Sequence[Path] = ()
    scratch: Path = Path("/private/tmp")
    program: str = "/usr/bin/sandbox-exec"
    repositories: GitDirectories | None = None
    inheritance: Inheritance = BUILT_IN
    secrets: Callable[[], Sequence[Path]] = tuple
    name: str = "sandbox-exec"

    def profile(self) -> str:
        """The profile text."""
        return seatbelt_profile(
            workspace=self.workspace,
            network=self.network,
            writable=[*self.writable, self.scratch],
            hidden=[*self.hidden, *self.secrets()],
            read_only=self.read_only,
            repositories=self.repositories.protected() if self.repositories else None,
        )

    def wrap(self, argv: Sequence[str], *, cwd: Path) -> list[str]:
        """`argv` under the profile; the caller sets the working directory."""
        return [*_without_secrets(self.inheritance), self.program, "-p", self.profile(), *argv]

    def exposing(self, directory: Path) -> SandboxExec:
        """A copy that also allows writing in `directory`, which pipes need here."""
        return replace(self, writable=[*self.writable, directory])

    def protected(self) -> set[object]:
        """Nothing that may change: a profile names paths."""
        return set()

    def environment(self) -> dict[str, str]:
        """The environment for children, with a temporary directory of their own."""
        kept = child_environment(network=self.network, inheritance=self.inheritance)
        return {**kept, "TMPDIR": os.fspath(self.scratch)}


SandboxKind = Bubblewrap | SandboxExec | NoSandbox


@dataclass(frozen=True)
class SandboxChoice:
    """The sandbox to use, and why it is not a real one (empty when it is)."""

    sandbox: SandboxKind
    reason: str = ""
    fix: str = ""
    """What to type, where that is known."""

    @property
    def confined(self) -> bool:
        """Whether children are really confined."""
        return not isinstance(self.sandbox, NoSandbox)

    @property
    def repositories(self) -> GitDirectories | None:
        """The repositories that children can write to; None without a real sandbox."""
        return None if isinstance(self.sandbox, NoSandbox) else self.sandbox.repositories


_WITH_FILTER = 'exec {filter}<"$0" && program=$1 && shift && exec "$program" --seccomp $filter "$@"'


def _program_with_filter(program: str, file: Path | None, bash: str) -> list[str]:
    """bubblewrap, told to read its filter from a descriptor, which a shell opens for it."""
    return [program] if file is None else [bash, "-p", "-c", _WITH_FILTER, os.fspath(file), program]


def make_sandbox(
    *,
    workspace: Path,
    enabled: bool,
    network: bool,
    writable: Sequence[Path],
    state_dir: Path,
    hidden: Sequence[Path] = (),
    read_only: Sequence[Path] = (),
    inheritance: Inheritance = BUILT_IN,
    secrets: Callable[[], Sequence[Path]] = tuple,
) -> SandboxChoice:
    """The best sandbox available on this machine, or `NoSandbox` with a one-line reason.

    `state_dir` keeps the children's private caches between runs, in a folder where nothing of
    laguna's own may lie. `hidden` and `read_only` are the paths that rules deny
    (`Gate.denied_paths`), `secrets` finds secret files to hide whenever something starts.
    """
    cache = state_dir / "cache"
    extra = [Path(sensitive_paths.real(os.path.expanduser(path))) for path in writable]
    distrust(workspace, cache, *extra)
    unconfined = NoSandbox(network=network, inheritance=inheritance)
    if not enabled:
        return SandboxChoice(unconfined, "the sandbox is disabled (policy.sandbox = false)")
    root = Path(sensitive_paths.real(workspace))
    home = sensitive_paths.real(sensitive_paths.home())
    if sensitive_paths.is_under(home, root) or root == Path("/"):
        return SandboxChoice(
            unconfined,
            f"the workspace {root} contains your home directory, which cannot be protected then; "
            "start laguna in a project's directory",
        )
    for place in (*sensitive_paths.secret_paths(), *sensitive_paths.laguna_directories()):
        if root == place:
            return SandboxChoice(
                unconfined, f"the workspace {root} is a directory that the sandbox hides"
            )
    for path in extra:
        if sensitive_paths.is_under(home, path):
            return SandboxChoice(
                unconfined, f"policy.writable lists {path}, which contains your home directory"
            )
    repositories = git_directories(root, extra, [cache, state_dir / "tmp"])
    if sys.platform == "darwin":
        scratch = state_dir / "tmp"
        choice = SandboxExec(
            root,
            network,
            extra,
            hidden,
            read_only,
            Path(sensitive_paths.real(scratch)),
            repositories=repositories,
            inheritance=inheritance,
            secrets=secrets,
        )
        if reason := probe_sandbox_exec():
            return SandboxChoice(unconfined, reason)
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        return SandboxChoice(choice)
    program, bash = find_program("bwrap") or "", find_program("bash") or ""
    if reason := probe_bubblewrap(program):
        why, fix = obstacle() if program else ("", "")
        return SandboxChoice(unconfined, f"{reason}; {why}" if why else reason, fix)
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
            program=program,
            repositories=repositories,
            inheritance=inheritance,
            filter=_write_filter(state_dir) if bash else None,
            bash=bash or "/bin/bash",
            stat=find_program("stat") or "/usr/bin/stat",
            secrets=secrets,
        )
    )


def _write_filter(state_dir: Path) -> Path | None:
    """The file with the filter; None where there is no filter, or the kernel takes none."""
    data, file = seccomp_filter(), state_dir / "seccomp.bpf"
    if not data or "errno" not in kernel_setting("kernel/seccomp/actions_avail").split():
        return None
    if not file.exists() or file.read_bytes() != data:
        atomic_write(file, data)
    return file


@lru_cache(maxsize=4)
def probe_bubblewrap(program: str) -> str:
    """Why bubblewrap cannot be used here, or an empty string. Tried once per process."""
    if sys.platform != "linux":
        return f"there is no sandbox for {sys.platform}"
    if not program:
        return "bubblewrap is not installed (Debian and Ubuntu: apt install bubblewrap)"
    command = [program, *_NAMESPACES, "--unshare-net", "--ro-bind", "/", "/"]
    command += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--", "/bin/sh", "-c", ":"]
    return _try(command, program)


@lru_cache(maxsize=1)
def probe_sandbox_exec(program: str = "/usr/bin/sandbox-exec") -> str:
    """Why sandbox-exec cannot be used here, or an empty string."""
    if not os.access(program, os.X_OK):
        return f"{program} does not exist"
    return _try([program, "-p", "(version 1)(allow default)", "/usr/bin/true"], program)


def _try(command: list[str], program: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=10, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} cannot be started: {error}"
    if done.returncode == 0:
        return ""
    errors = done.stderr.decode(errors="replace").strip().splitlines()
    detail = errors[-1] if errors else f"exit status {done.returncode}"
    return f"{program} does not work here ({detail})"


def _without_secrets(inheritance: Inheritance) -> list[str]:
    """A prefix that unsets secrets, for callers that pass on their own environment."""
    names = secret_names(inheritance=inheritance)
    if not names:
        return []
    return ["/usr/bin/env", *(option for name in names for option in ("-u", name))]
