"""The environment of child processes: no secrets, and no variables that run programs.

Secrets are dropped by name and by shape, and so is every variable that makes a read-only program
run another one, because the gate judges a command by its words alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_SECRET_NAME = re.compile(
    r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|COOKIE|PRIVATE|SIGNATURE|"
    r"(^|_)(AUTH|PASS|PWD|PAT|DSN|JWT|BEARER|WEBHOOK|SESSION)(_|$)|DATABASE_URL|CONNECTION_STRING",
    re.IGNORECASE,
)
_NOT_SECRET = frozenset({"PWD", "OLDPWD"})
_SECRET_VALUE = re.compile(
    r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"  # a password in an address
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b(gh[pousr]_|github_pat_|glpat-|sk-|xox[abprs]-|hf_|npm_|pypi-|AKIA|ASIA|AIza)[A-Za-z0-9_-]{12}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ"
)
_RUNS_PROGRAMS = re.compile(
    r"^(BASH_ENV|ENV|BASH_FUNC_.*|PROMPT_COMMAND|PS[0-4]|SHELLOPTS|BASHOPTS|BASH_XTRACEFD|CDPATH|"
    r"GLOBIGNORE|EXECIGNORE|FIGNORE|IFS|HISTFILE|HISTCONTROL|INPUTRC|TMOUT|LD_PRELOAD|LD_AUDIT|"
    r"DYLD_.*|RIPGREP_CONFIG_PATH|GREP_OPTIONS|LESS|LESSOPEN|LESSCLOSE|MANOPT|MANROFFOPT|"
    r"TAR_OPTIONS|GZIP|TAPE|ACKRC|ACK_.*|FZF_.*|BAT_.*|DELTA_.*|GIT_.*|SSH_.*|GCM_.*|"
    r"PYTHONSTARTUP|PYTHONINSPECT|PYTHONBREAKPOINT|PERL5OPT|RUBYOPT|NODE_OPTIONS|"
    r"JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|MAKEFLAGS|GNUMAKEFLAGS|MAKEFILES|"
    r"BROWSER|VISUAL|EDITOR|PAGER|MANPAGER|.*_ASKPASS)$"
)
_REACHES_OUT = re.compile(
    r"^(XDG_RUNTIME_DIR|DBUS_.*|DISPLAY|WAYLAND_.*|XAUTHORITY|ICEAUTHORITY|SESSION_MANAGER|"
    r"GPG_.*|GNUPGHOME|DOCKER_.*|CONTAINER_HOST|PODMAN_.*|BUILDKIT_.*|KUBECONFIG|KUBE.*|"
    r"TMUX.*|STY|WINDOWID|VSCODE_.*|TERM_PROGRAM.*|KITTY_.*|WEZTERM_.*|ITERM_.*|ALACRITTY_.*|"
    r"WSL_INTEROP|WSLENV|PULSE_.*|PIPEWIRE_.*|NVIM.*|EMACS.*|INSIDE_EMACS|"
    r"CLAUDE.*|CODEX.*|OPENAI_.*|ANTHROPIC_.*|AWS_.*|AZURE_.*|GOOGLE_.*|GCP_.*|CLOUDSDK_.*|"
    r"INVOCATION_ID|JOURNAL_STREAM|NOTIFY_SOCKET|LISTEN_(FDS|PID|FDNAMES)|LAGUNA_.*|TMPDIR|TEMP|TMP)$"
)
_GIT_KEPT = re.compile(r"^GIT_(AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)$")

QUIET: Mapping[str, str] = {
    "TERM": "dumb",
    "NO_COLOR": "1",
    "CLICOLOR": "0",
    "PAGER": "cat",
    "MANPAGER": "cat",
    "GIT_PAGER": "cat",
    "SYSTEMD_PAGER": "cat",
    "BAT_PAGER": "cat",
    "DELTA_PAGER": "cat",
    "EDITOR": "true",
    "VISUAL": "true",
    "GIT_EDITOR": "true",
    "GIT_SEQUENCE_EDITOR": "true",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GCM_INTERACTIVE": "never",
    "SSH_ASKPASS_REQUIRE": "never",
    "DEBIAN_FRONTEND": "noninteractive",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "NPM_CONFIG_UPDATE_NOTIFIER": "false",
    "PYTHONUNBUFFERED": "1",
    "HISTFILE": "/dev/null",
}
"""Nothing waits for input: no pager, editor, colours or password prompt."""

OFFLINE: Mapping[str, str] = {
    "CARGO_NET_OFFLINE": "true",
    "NPM_CONFIG_OFFLINE": "true",
    "UV_OFFLINE": "1",
    "PIP_RETRIES": "0",
    "GOPROXY": "off",
    "GOTOOLCHAIN": "local",
    "HF_HUB_OFFLINE": "1",
}
"""Without a network, tools fail at once instead of retrying for minutes."""


def is_secret_variable(name: str, value: str) -> bool:
    """Whether a variable looks like a secret, by its name or the shape of its value."""
    if name in _NOT_SECRET:
        return False
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


def is_inherited(name: str, value: str) -> bool:
    """Whether a child may inherit this variable."""
    if _GIT_KEPT.match(name):
        return True
    return not (
        is_secret_variable(name, value)
        or _RUNS_PROGRAMS.match(name)
        or _REACHES_OUT.match(name)
        or value.startswith("() {")
    )


def child_environment(
    source: Mapping[str, str] | None = None, *, network: bool = True
) -> dict[str, str]:
    """The environment for children, derived from `source` (by default the process environment)."""
    source = os.environ if source is None else source
    kept = {name: value for name, value in source.items() if is_inherited(name, value)}
    kept["PATH"] = absolute_path(source.get("PATH", os.defpath))
    kept.update(QUIET)
    if not network:
        kept.update(OFFLINE)
    return kept


def secret_names(source: Mapping[str, str] | None = None) -> list[str]:
    """Names of the secrets in `source`, for launchers that unset them once more."""
    source = os.environ if source is None else source
    return sorted(name for name, value in source.items() if is_secret_variable(name, value))


def absolute_path(path: str) -> str:
    """A search path without empty and relative entries, which depend on the shell's directory."""
    return os.pathsep.join(p for p in path.split(os.pathsep) if os.path.isabs(p))
