"""The macOS sandbox profile, with the same rules as on Linux, for sandbox-exec.

Later rules win, so the profile goes from wide to narrow: everything can be read and nothing
written; then secrets are denied, the workspace is made writable, and the files that decide what
git runs are protected.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.git_directories import Found
from laguna_agent.policy.git_layout import git_layout

_SERVICES = ("opendirectoryd.libinfo", "notification_center", "logger")


def seatbelt_profile(
    *,
    workspace: Path,
    network: bool,
    writable: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
    read_only: Sequence[Path] = (),
    repositories: Found | None = None,
) -> str:
    """The profile for one workspace. Paths are resolved, since the kernel compares real paths."""
    root = Path(sensitive_paths.real(workspace))
    layout = git_layout(root, repositories)
    services = " ".join(f'(global-name "com.apple.system.{name}")' for name in _SERVICES)
    devices = " ".join(_literal(f"/dev/{name}") for name in ("null", "zero", "tty", "ptmx"))
    lines = [
        "(version 1)",
        "(deny default)",
        "(allow process-fork process-exec*)",
        "(allow signal (target same-sandbox))",
        "(allow process-info* (target same-sandbox))",
        "(allow sysctl-read)",
        f"(allow mach-lookup {services})",
        "(allow ipc-posix-sem ipc-posix-shm)",
        "(allow pseudo-tty)",
        '(allow file-ioctl (regex #"^/dev/(tty|pty|ptmx)"))',
        "(allow file-read*)",
        f'(allow file-write* {devices} (regex #"^/dev/(tty|pty)"))',
        ";; secrets",
    ]
    secrets = [
        *sensitive_paths.secret_paths(),
        *sensitive_paths.laguna_directories(),
        *map(Path, hidden),
    ]
    lines += [f"(deny file-read* file-write* {_below(path)})" for path in secrets]
    lines.append(";; what may be written")
    lines += [
        f"(allow file-read* file-write* {_below(path)})"
        for path in [root, *writable, *layout.writable]
    ]
    lines.append(";; what decides what runs")
    named = [*layout.named, *layout.named_absent]
    fixed = [*layout.fixed, *layout.absent, *named, root / ".laguna", *read_only]
    lines += [f"(deny file-write* {_below(path)})" for path in fixed if path != root / ".git"]
    kept = [*layout.writable, *(path for path in writable if path.is_dir())]
    lines += [f"(deny file-write-unlink {_literal(path)})" for path in kept]
    lines += [
        f"(deny file-read* file-write* {_below(path)})"
        for path in secrets
        if sensitive_paths.is_under(path, root)
    ]
    lines.append("(allow network*)" if network else "(deny network*)")
    lines += [
        '(deny network-outbound (literal "/private/var/run/docker.sock"))',
        '(deny network-outbound (regex #"/(ssh-[^/]*|com\\.apple\\.launchd\\.[^/]*)/"))',
    ]
    return "\n".join(lines) + "\n"


def _quoted(path: str | Path) -> str:
    text = os.fspath(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _below(path: str | Path) -> str:
    return f"(subpath {_quoted(sensitive_paths.real(path))})"


def _literal(path: str | Path) -> str:
    return f"(literal {_quoted(sensitive_paths.real(path))})"
