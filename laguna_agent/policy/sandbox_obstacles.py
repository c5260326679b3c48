"""What keeps bubblewrap from working on this machine, and what to type."""

from __future__ import annotations

import os
from pathlib import Path

_OBSTACLES = (
    (
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
        "AppArmor does not let it make user namespaces",
        (
            "sudo apt-get install apparmor-profiles && sudo cp "
            "/usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && "
            "sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict"
        ),
    ),
    (
        ("kernel/unprivileged_userns_clone", "0"),
        "user namespaces are disabled for users",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        ("user/max_user_namespaces", "0"),
        "user namespaces are disabled",
        "sudo sysctl -w user.max_user_namespaces=15000",
    ),
)
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


def obstacle() -> tuple[str, str]:
    """What most likely keeps bubblewrap from working, and what to type."""
    for (name, value), why, fix in _OBSTACLES:
        if kernel_setting(name) == value:
            return why, fix
    if any(map(os.path.exists, _CONTAINER_MARKS)):
        options = " ".join(
            f"--security-opt {name}=unconfined" for name in ("seccomp", "apparmor", "systempaths")
        )
        return "this container does not allow it", f"docker run {options} …"
    return "user namespaces may be disabled", ""


def kernel_setting(name: str) -> str:
    """A setting of the kernel; empty if there is none of that name."""
    try:
        return Path("/proc/sys", name).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
