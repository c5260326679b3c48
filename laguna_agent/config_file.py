"""Edits `config.toml` for the user, and keeps comments, order and everything else in it."""

from __future__ import annotations

import copy
import os
import tomllib
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.errors import UsageError


def edit_config(path: Path, change: Callable[[MutableMapping[str, Any]], None]) -> None:
    """Apply `change` to the content of a configuration file, or of a new one.

    The file is replaced atomically, keeps its mode, and is followed through a symbolic link.
    Raises UsageError when it cannot be read or written, is not valid TOML, or has a form in which
    the change cannot be written; then it stays as it is.
    """
    import tomlkit  # takes longer to import than most runs need it for
    from tomlkit.exceptions import TOMLKitError

    target = Path(os.path.realpath(path))
    try:
        before = target.read_bytes().decode("utf-8-sig")
        mode = target.stat().st_mode & 0o7777
    except FileNotFoundError:
        before, mode = "", 0o600
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        old, document = tomllib.loads(before), tomlkit.parse(before)
    except (tomllib.TOMLDecodeError, TOMLKitError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}", hint="Fix it first.") from error
    # The same change to plain data says what the edited file must mean.
    wanted, refused = copy.deepcopy(old), f"{path} has a form that laguna cannot add this to"
    try:
        change(wanted)
        if wanted == old:
            return
        change(document)
        after = tomlkit.dumps(document)
        if "\r\n" in before:
            after = after.replace("\r\n", "\n").replace("\n", "\r\n")
        written = tomllib.loads(after)
    except (AttributeError, TypeError, ValueError, TOMLKitError) as error:
        raise UsageError(refused) from error
    if written != wanted:
        raise UsageError(refused)
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(target, after, mode=mode, sync=True)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from error
