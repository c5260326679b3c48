"""The keys of model servers and the secrets in their headers: where they come from.

A key comes from a variable, a file or a command that the user's own configuration names. What was
read is kept for this process, and `hidden` removes it from whatever a person, a record or a model
sees.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from laguna_agent.config import VARIABLE, ProviderConfig
from laguna_agent.errors import ServerSettingsError
from laguna_agent.programs import is_writable_by_commands, search_path, user_command

_COMMAND_S = 60.0
_MOST_BYTES = 65_536
_SHORTEST = 8
"""Characters of the shortest secret that is looked for in texts."""
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|passw|credential|session", re.IGNORECASE)

_printed: dict[str, str] = {}
"""What key commands printed, by command."""
_secrets: dict[str, str] = {}
"""The secrets of this process, by what replaces them in a text."""
_variables: set[str] = set()
"""Those of them that are variables, whose names the user's configuration may pass on."""


def key_of(
    provider: str, settings: ProviderConfig, environment: Mapping[str, str], *, fresh: bool = False
) -> str | None:
    """The API key of a provider, or None. Raises ServerSettingsError.

    `fresh`: run a key command again, whose key the server no longer accepts.
    """
    key: str | None = None
    if settings.key_env:
        key = environment.get(settings.key_env, "").strip()
        if not key:
            raise ServerSettingsError(
                f"the key of provider {provider} is missing: {settings.key_env} is not set",
                hint=f"export {settings.key_env}=…",
            )
    elif settings.key_file:
        key = _one_line(provider, "`key_file`", _read(provider, settings.key_file))
    elif settings.key_command:
        command = settings.key_command
        if fresh or command not in _printed:
            _printed[command] = _one_line(provider, "`key_command`", _run(provider, command))
        key = _printed[command]
    if key:
        if not re.fullmatch(r"[\t -~]+", key):
            raise ServerSettingsError(
                f"the key of provider {provider} has characters that no header may have"
            )
        _remember(settings.key_env or f"key of {provider}", key, variable=bool(settings.key_env))
    return key


def headers_of(
    provider: str, settings: ProviderConfig, environment: Mapping[str, str]
) -> dict[str, str]:
    """The headers of a provider, variables put in. Raises ServerSettingsError for a missing one."""
    found: dict[str, str] = {}
    for name, text in settings.headers.items():
        for variable in VARIABLE.findall(text):
            value = environment.get(variable, "")
            if not value or not re.fullmatch(r"[\t -~]+", value):
                wrong = "is not set" if not value else "has characters that no header may have"
                raise ServerSettingsError(
                    f"header {name} of provider {provider}: {variable} {wrong}",
                    hint=f"export {variable}=…",
                )
            _remember(variable, value, variable=True)
        found[name] = VARIABLE.sub(lambda match: environment[match[1]], text)
        if _SECRET_HEADER.search(name):
            literal = text.partition(" ")[2] if " " in text else text  # Bearer …, Basic …
            if not VARIABLE.search(text):
                _remember(f"{name} of {provider}", literal)
    return found


def secrets() -> dict[str, str]:
    """The secrets that this process has read from elsewhere than variables, by what stands for
    each in a text."""
    return {label: secret for label, secret in _secrets.items() if label not in _variables}


def hidden(text: str) -> str:
    """A text without the secrets of this process."""
    for label, secret in _secrets.items():
        text = text.replace(secret, f"[{label}]")
    return text


def _remember(label: str, secret: str, *, variable: bool = False) -> None:
    if len(secret) >= _SHORTEST:
        _secrets[label] = secret
        _variables.update([label] if variable else [])


def _read(provider: str, name: str) -> str:
    """What a key file holds."""
    path = Path(name).expanduser()
    about = f"`key_file` of provider {provider}: {name}"
    if not path.is_absolute():
        raise ServerSettingsError(f"{about} must be an absolute path, or begin with ~")
    if is_writable_by_commands(path):
        raise ServerSettingsError(
            f"{about} is in a repository, where commands can write",
            hint="Keep the key outside of it.",
        )
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ServerSettingsError(f"{about} is no file")
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ServerSettingsError(f"{about} cannot be read: {error.strerror}") from error


def _run(provider: str, command: str) -> str:
    """What a key command prints. Neither that nor what it complains of is shown: both may hold
    the key."""
    about = f"`key_command` of provider {provider}"
    words = user_command(command)
    try:
        done = subprocess.run(
            words,
            cwd=Path.home(),
            env={**os.environ, "PATH": search_path()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_S,
            start_new_session=True,
            check=False,
        )
    except OSError as error:
        raise ServerSettingsError(f"{about} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise ServerSettingsError(
            f"{about} did not end within {_COMMAND_S:.0f} s",
            hint="It must not wait for input: unlock the store of passwords first.",
        ) from None
    if done.returncode != 0:
        raise ServerSettingsError(
            f"{about} failed with exit code {done.returncode}",
            hint=f"Run it in a terminal to see why: {command}",
        )
    return done.stdout[:_MOST_BYTES].decode("utf-8", "replace")


def _one_line(provider: str, what: str, text: str) -> str:
    """The key in a text: its only line that is not empty."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines() if line.strip()]
    if len(lines) != 1:
        found = "nothing" if not lines else f"{len(lines)} lines"
        raise ServerSettingsError(
            f"{what} of provider {provider} gives {found} instead of one line with the key"
        )
    return lines[0]
