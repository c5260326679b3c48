"""Which paths hold secrets, which are protected, and when two spellings mean one path.

`gate` decides and `sandbox` hides from these same tables.
"""

from __future__ import annotations

import fnmatch
import os
import unicodedata
from functools import lru_cache
from pathlib import Path

from laguna_agent.paths import config_dir, data_dir, state_dir

HOME_SECRETS: tuple[str, ...] = (
    # keys and agents
    ".ssh",
    ".gnupg",
    ".pki",
    ".password-store",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".local/share/gnome-keyring",
    ".kde/share/apps/kwallet",
    "Library/Keychains",
    "Library/Cookies",
    # clouds and registries
    ".aws",
    ".azure",
    ".oci",
    ".aliyun",
    ".kube",
    ".docker",
    ".config/gcloud",
    ".terraform.d",
    ".terraformrc",
    ".vault-token",
    ".boto",
    ".s3cfg",
    ".databrickscfg",
    ".snowflake",
    ".snowsql",
    ".fly",
    ".wrangler",
    ".railway",
    ".netlify",
    ".vercel",
    ".heroku",
    ".sentryclirc",
    ".netrc",
    "_netrc",
    ".authinfo",
    ".authinfo.gpg",
    ".pypirc",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".git-credentials",
    ".gem/credentials",
    ".bundle/config",
    ".composer/auth.json",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".m2/settings.xml",
    ".m2/settings-security.xml",
    ".gradle/gradle.properties",
    ".nuget/NuGet",
    ".cache/huggingface/token",
    ".huggingface",
    # databases
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    ".mongorc.js",
    # browsers and mail
    ".mozilla",
    ".zen",
    ".librewolf",
    ".waterfox",
    ".thunderbird",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/vivaldi",
    ".config/opera",
    ".cache/mozilla",
    ".cache/google-chrome",
    ".cache/chromium",
    ".cache/thunderbird",
    ".var/app",
    "snap",
    "Library/Application Support",
    "Library/Safari",
    "Library/Mail",
    "Library/Messages",
    ".mutt",
    ".muttrc",
    ".msmtprc",
    ".fetchmailrc",
    ".offlineimaprc",
    ".mbsyncrc",
    # command histories
    ".bash_history",
    ".zsh_history",
    ".zhistory",
    ".histfile",
    ".local/share/fish/fish_history",
    ".python_history",
    ".node_repl_history",
    ".psql_history",
    ".mysql_history",
    ".sqlite_history",
    ".rediscli_history",
    ".irb_history",
    ".lesshst",
    ".viminfo",
    # wallets and messengers
    ".bitcoin",
    ".ethereum",
    ".electrum",
    ".solana",
    ".purple",
    ".irssi",
    ".weechat",
    ".local/share/TelegramDesktop",
    # other agents
    ".claude",
    ".claude.json",
    ".codex",
    ".gemini",
    ".qwen",
    ".copilot",
    ".cursor",
    ".continue",
    ".aider.conf.yml",
)
"""Relative to the home directory; a directory covers everything below it."""

CONFIG_SHOWN: tuple[str, ...] = (
    "git/config",
    "git/ignore",
    "git/attributes",
    "ruff",
    "black",
    "flake8",
    "pycodestyle",
    "pylintrc",
    "yamllint",
    "mypy",
    "matplotlib",
    "fontconfig",
    "clangd",
    "rustfmt",
    "ripgrep",
    "fd",
    "bat",
    "go/env",
    "golangci-lint",
    "nix/nix.conf",
    "shellcheckrc",
    "zig",
)
"""The parts of `~/.config` that a sandboxed child sees; applications keep tokens in the rest."""

SYSTEM_SECRETS: tuple[str, ...] = (
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssl/private",
    "/etc/krb5.keytab",
    "/etc/NetworkManager/system-connections",
    "/etc/wireguard",
    "/etc/openvpn",
    "/etc/kubernetes",
    "/etc/rancher",
    "/etc/docker/key.json",
    "/etc/letsencrypt",
    "/etc/ppp",
    "/etc/mysql/debian.cnf",
    "/etc/apt/auth.conf",
    "/etc/apt/auth.conf.d",
    "/etc/pip.conf",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/sss",
    "/var/spool/cron",
    "/var/spool/mail",
    "/var/mail",
    "/var/backups",
)

WORKSPACE_SECRETS: tuple[str, ...] = (
    ".env",
    ".env.*",
    ".envrc",
    "*.env",
    ".netrc",
    ".pypirc",
    ".pgpass",
    ".git-credentials",
    ".htpasswd",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "*.kdbx",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "credentials.json",
    "service-account*.json",
    "secrets.json",
    "secrets.toml",
    "secrets.yaml",
    "secrets.yml",
)
"""Names of files that hold secrets anywhere; reading one asks."""

_PUBLIC_NAMES = (".env.example", ".env.sample", ".env.template", ".env.dist", ".env.defaults")

PUBLIC_ROOTS: tuple[str, ...] = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/etc", "/sys")
"""System directories without user data: reading them does not ask."""

PROTECTED_NAMES: tuple[str, ...] = (".git", ".laguna")
"""Directories (or files, in a linked worktree) that are not edited without asking."""


def home() -> Path:
    """The user's home directory."""
    return Path(os.path.expanduser("~"))


def real(path: str | Path) -> str:
    """`path` with every symbolic link resolved; parts that do not exist are kept as written."""
    return os.path.realpath(path)


@lru_cache(maxsize=8192)
def fold(text: str) -> str:
    """A key that is equal for names that a file system may treat as the same.

    Folds case, composes Unicode and drops code points that HFS+ ignores.
    """
    if text.isascii():
        return text.lower()
    kept = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", kept).casefold())


def spellings(path: str | Path) -> tuple[str, ...]:
    """The absolute forms of `path`: as written, at each symbolic link, and fully resolved.

    A rule about any of them applies.
    """
    current = os.path.normpath(path)
    found = [current]
    for _ in range(16):
        parent, name = os.path.split(current)
        parent = real(parent)
        hop = os.path.join(parent, name) if name else parent
        if hop not in found:
            found.append(hop)
        try:
            target = os.readlink(hop)
        except OSError:
            break
        current = os.path.normpath(os.path.join(parent, target))
        if current in found:
            break
        found.append(current)
    resolved = real(path)
    if resolved not in found:
        found.append(resolved)
    return tuple(found)


def is_under(path: str | Path, root: str | Path) -> bool:
    """Whether `path` is `root` or below it, comparing whole components exactly."""
    text, base = os.fspath(path), os.fspath(root).rstrip("/")
    return text == base or text.startswith(base + "/") or base == ""


def is_under_folded(path: str | Path, root: str | Path) -> bool:
    """Like `is_under`, ignoring differences that `fold` removes."""
    return is_under(fold(os.fspath(path)), fold(os.fspath(root)))


def laguna_directories() -> tuple[Path, ...]:
    """laguna's own configuration, data and state directories."""
    return _resolved(config_dir(), data_dir(), state_dir())


@lru_cache(maxsize=64)
def _resolved(*named: Path) -> tuple[Path, ...]:
    return tuple(Path(real(path)) for path in named)


def secret_paths() -> tuple[Path, ...]:
    """Absolute paths outside a workspace that hold secrets, whether they exist or not."""
    base = Path(real(home()))
    return (*(base / p for p in HOME_SECRETS), *(Path(p) for p in SYSTEM_SECRETS))


@lru_cache(maxsize=16)
def _folded_secrets(base: str) -> tuple[tuple[str, str], ...]:
    """Secret paths for one home directory, as shown and folded for comparison."""
    shown = [*(os.path.join(base, p) for p in HOME_SECRETS), *SYSTEM_SECRETS]
    return tuple((path, fold(path)) for path in shown)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a file of this name holds secrets in any directory."""
    folded = fold(name)
    if folded in _PUBLIC_NAMES:
        return False
    return any(fnmatch.fnmatchcase(folded, pattern) for pattern in WORKSPACE_SECRETS)


def secret_reason(path: str | Path) -> str | None:
    """Why reading `path` may show a secret, or None."""
    base = real(home())
    for text in spellings(path):
        if is_secret_name(os.path.basename(text)):
            return f"{os.path.basename(text)} may hold secrets"
        folded = fold(text)
        for place, key in _folded_secrets(base):
            if folded.startswith(key) and is_under(folded, key):
                return f"{place} holds secrets"
        if is_under_folded(text, os.path.join(base, ".config")):
            inside = os.path.relpath(text, os.path.join(base, ".config"))
            if not any(is_under(inside, shown) for shown in CONFIG_SHOWN):
                return "~/.config holds the settings and tokens of applications"
        if text.startswith("/proc/"):
            return "/proc exposes other processes"
    return None


def protected_reason(path: str | Path, workspace: str | Path) -> str | None:
    """Why `path` is protected against changes, or None.

    Protected are `.git` and `.laguna` at any depth below the workspace, and laguna's directories.
    """
    for text in spellings(path):
        for place in laguna_directories():
            if is_under_folded(text, place) and not is_under(workspace, place):
                return f"{place} is laguna's own directory"
        inside = os.path.relpath(text, workspace) if is_under_folded(text, workspace) else text
        for part in inside.split("/"):
            # Short names and trailing dots mean something only on Windows, but a checkout may be
            # shared with it.
            name = fold(part).rstrip(". ")
            if name in PROTECTED_NAMES or name == "git~1":
                return f"{part} controls what runs and what is trusted"
    return None
