"""The environment of child processes: no secrets, and no variables that run programs.

Secrets are dropped by name and by shape, and so is every variable that makes a read-only program
run another one, because the gate judges a command by its words alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from laguna_agent.config import Config

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORD = re.compile(
    r"(\w*(API|APP|ACCESS|ACCOUNT|ADMIN|AES|AUTH|CLIENT|CRYPT|CRYPTION|DEPLOY|HMAC|LICENSE|MASTER|"
    r"PRIVATE|RSA|SECRET|SERVICE|SIGNING|SSH|STORAGE))?KEYS?"
    r"|\w*(TOKEN|SECRET|PASSWORD|CREDENTIAL|COOKIE)S?|\w*PASSWD|\w*PASSPHRASE|CREDS?|PRIVATE"
    r"|SIGNATURE|AUTH|AUTHORIZATION|PASS|PWD|PAT|DSN|JWT|BEARER|WEBHOOK"
)
_SHORTEST_KEY, _LONG = 8, 20
_NOT_SECRET = frozenset({"PWD", "OLDPWD"})
_SECRET_VALUE = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"  # a password in an address
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:\b(password|pwd|accountkey|sharedaccess\w*|secret|token|api_?key)\s*=\s*[^\s;&]{6})"
    r"|^(?i:basic|bearer|token)\s+[A-Za-z0-9._~+/-]{8}"
    r"|\b(gh[pousr]_|github_pat_|gl(pat|dt|rt|cbt|ptt)-|sk-|[rs]k_(live|test)_|xox[abeoprs]-|xapp-|hf_"
    r"|npm_|pypi-|AKIA|ASIA|AIza|ya29\.|GOCSPX-|do[opr]_v1_|shp(at|ca|pa|ss)_|SG\.|dapi|hvs\.|hvb\.|nvapi-"
    r"|gsk_|xai-|pplx-|r8_|tvly-|lin_api_|ntn_|figd_|ATATT|ATCTT|glsa_|glc_|dckr_pat_|pul-|key-|EAAC)"
    r"[A-Za-z0-9_-]{12}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ"
)
_RUNS_PROGRAMS = re.compile(
    r"^(BASH_ENV|ENV|BASH_FUNC_.*|PROMPT_COMMAND|PS[0-4]|SHELLOPTS|BASHOPTS|BASH_XTRACEFD|CDPATH|"
    r"GLOBIGNORE|EXECIGNORE|FIGNORE|IFS|HISTFILE|HISTCONTROL|INPUTRC|TMOUT|LD_PRELOAD|LD_AUDIT|"
    r"DYLD_.*|RIPGREP_CONFIG_PATH|GREP_OPTIONS|LESS|LESSOPEN|LESSCLOSE|MANOPT|MANROFFOPT|"
    r"TAR_OPTIONS|GZIP|TAPE|ACKRC|ACK_.*|FZF_.*|BAT_.*|DELTA_.*|GIT_.*|SSH_.*|GCM_.*|"
    r"PYTHONSTARTUP|PYTHONINSPECT|PYTHONBREAKPOINT|PERL5OPT|RUBYOPT|MAKEFILES|"
    r"BROWSER|VISUAL|EDITOR|PAGER|MANPAGER|.*_ASKPASS)$"
)
_BUILD_OPTIONS = frozenset(
    {"LD_PRELOAD", "TAR_OPTIONS", "PERL5OPT", "RUBYOPT", "MAKEFILES", "RIPGREP_CONFIG_PATH"}
)
"""Those of them that builds and tests use."""
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
    # By second and size Python tells whether compiled code is current: of code that changes twice
    # in a second, as between two checks, the second change would not be seen.
    "PYTHONDONTWRITEBYTECODE": "1",
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


@dataclass(frozen=True)
class Inheritance:
    """What the configuration says about the variables that children inherit."""

    passed: tuple[str, ...] = ()
    """Names and patterns that are passed on whatever they look like."""
    keys: tuple[str, ...] = ()
    """Names of the variables that hold the keys of model servers."""

    @classmethod
    def of(cls, config: Config) -> Inheritance:
        """That of a configuration."""
        keys = {name for provider in config.providers.values() for name in provider.variables()}
        return cls(tuple(config.policy.environment.passed), tuple(sorted(keys)))

    def passes(self, name: str) -> bool:
        """Whether the user asked for this variable to be passed on."""
        return any(fnmatchcase(name, pattern) for pattern in self.passed) and (
            name not in self.keys or name in self.passed
        )

    def is_secret(self, name: str, value: str, source: Mapping[str, str]) -> bool:
        """Whether a variable of `source` is, or contains, what children must not see."""
        if self.passes(name):
            return False
        given = (source.get(key, "") for key in self.keys)
        return (
            name in self.keys
            or any(len(key) >= _SHORTEST_KEY and key in value for key in given)
            or is_secret_variable(name, value)
        )

    def key_values(self, source: Mapping[str, str]) -> dict[str, str]:
        """The keys of model servers, by the name of their variable."""
        values = {name: source.get(name, "") for name in self.keys if name not in self.passed}
        return {name: value for name, value in values.items() if len(value) >= _SHORTEST_KEY}


BUILT_IN = Inheritance()
"""What holds where the configuration says nothing."""


def is_secret_variable(name: str, value: str) -> bool:
    """Whether a variable looks like a secret, by the words of its name or the shape of its value.

    Words are told apart by underscores and capitals: MONKEY and KEYBOARD are none.
    """
    if name in _NOT_SECRET:
        return False
    if _SECRET_VALUE.search(value) or "CONNECTION_STRING" in name.upper():
        return True
    words = [word.upper() for word in _WORDS.findall(name)]
    if value.isdecimal():  # MAX_TOKENS=4096
        words = [word for word in words if not word.endswith("S")]
    session = words[-1:] == ["SESSION"] and len(value) >= _LONG  # and not DESKTOP_SESSION=gnome
    return session or any(_SECRET_WORD.fullmatch(word) for word in words)


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
    source: Mapping[str, str] | None = None,
    *,
    network: bool = True,
    inheritance: Inheritance = BUILT_IN,
) -> dict[str, str]:
    """The environment for children, derived from `source` (by default the process environment)."""
    source = os.environ if source is None else source
    kept = {
        name: value
        for name, value in source.items()
        if is_inherited(name, value) and not inheritance.is_secret(name, value, source)
    }
    kept["PATH"] = absolute_path(source.get("PATH", os.defpath))
    kept.update(QUIET)
    if not network:
        kept.update(OFFLINE)
    passed = {name: value for name, value in source.items() if inheritance.passes(name)}
    return {**kept, **passed, "PATH": kept["PATH"]}


def secret_names(
    source: Mapping[str, str] | None = None, inheritance: Inheritance = BUILT_IN
) -> list[str]:
    """Names of the secrets in `source`, for launchers that unset them once more."""
    source = os.environ if source is None else source
    items = source.items()
    return sorted(name for name, value in items if inheritance.is_secret(name, value, source))


def held_back(inheritance: Inheritance, source: Mapping[str, str] | None = None) -> list[str]:
    """Names of the variables that a build or a test might miss because children do not get them."""
    source = os.environ if source is None else source
    return sorted(
        name
        for name, value in source.items()
        if inheritance.is_secret(name, value, source)
        or (name in _BUILD_OPTIONS and not inheritance.passes(name))
    )


def absolute_path(path: str) -> str:
    """A search path without empty and relative entries, which depend on the shell's directory."""
    return os.pathsep.join(p for p in path.split(os.pathsep) if os.path.isabs(p))
