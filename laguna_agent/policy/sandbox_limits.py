"""Says in one line what to do when a command failed at a limit of the sandbox.

Programs report such limits as if the machine were broken; without a word about it, a model tries
one way around after another.
"""

from __future__ import annotations

import re

_SETTINGS = re.compile(
    r"could not (lock|write) config file (?!/)|[Uu]pdate of config-file failed|"
    r"\.git/(config|hooks)\S*: Read-only file system"
)
_BUILD = re.compile(r"(?s)build dependencies.*No matching distribution found for (setuptools|\S+)")
_NETWORK = re.compile(
    r"[Cc]ould not resolve|[Tt]emporary failure in name resolution|Name or service not known|"
    r"[Nn]etwork is unreachable|ENOTCACHED|ENOTFOUND|EAI_AGAIN|No matching distribution found|"
    r"nodename nor servname|no such host|module lookup disabled by GOPROXY=off|"
    r"--offline was specified|network was disabled|getaddrinfo failed"
)
_LOOPBACK = re.compile(
    r"(localhost|127\.0\.0\.1|\[?::1).*([Cc]onnection refused|[Cc]ouldn't connect|ECONNREFUSED)|"
    r"([Cc]onnection refused|[Ff]ailed to connect|ECONNREFUSED).*(localhost|127\.0\.0\.1|::1)"
)
_CONTAINERS = re.compile(
    r"(docker|podman|containerd)\S*.*(sock|daemon|newuidmap|user namespace)", re.IGNORECASE
)
_NAMESPACES = re.compile(
    r"unshare failed|No usable sandbox|[Ff]ailed to move to new namespace|creating new namespace"
)
_READ_ONLY = re.compile(r"Read-only file system|Errno 30|EROFS|isn't writable|is not writable")


def limit_reached(output: str, *, ok: bool, network: bool) -> str:
    """What to do, for a command with this output; empty if it met no limit that is known here."""
    text = output[-8_000:]
    if _SETTINGS.search(text):
        return (
            "commands cannot change the repository's settings and hooks: "
            "use `git -c NAME=VALUE …`, or ask the user to do it"
        )
    if ok:
        return ""
    if not network and _BUILD.search(text):
        return "no network: try `pip install --no-build-isolation --no-deps -e .`"
    if not network and _LOOPBACK.search(text):
        return (
            "localhost is the sandbox's own: start the server here, with & at the end; the user's "
            "servers need policy.network = true"
        )
    if not network and _NETWORK.search(text):
        return "commands have no network (policy.network = true allows it); use what is here"
    if _CONTAINERS.search(text):
        return "containers cannot be used from here; ask the user to run this"
    if _NAMESPACES.search(text):
        return "user namespaces are refused here; a browser needs --no-sandbox"
    if _READ_ONLY.search(text):
        return "only the workspace, /tmp and ~/.cache can be written; policy.writable can name more"
    return ""
