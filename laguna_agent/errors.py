"""Errors that users see: what happened, why, and what to do, with an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `laguna --task`; the other commands use the same numbers."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    MODEL = 3
    DENIED = 4
    LIMIT = 5
    INTERRUPTED = 130


class LagunaError(Exception):
    """An expected failure. `str(error)` is one or two lines that a user can act on."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message}\n{hint}" if hint else message)


class UsageError(LagunaError):
    """Wrong flags, arguments or configuration."""

    exit_code = ExitCode.USAGE


class ServerSettingsError(UsageError):
    """What the configuration says of a model server is wrong; another model can be chosen."""


class ModelError(LagunaError):
    """A model is missing, does not fit, or fails."""

    exit_code = ExitCode.MODEL


class ContextFullError(ModelError):
    """The next tokens would not fit in the context; nothing was decoded.

    `used`, `wanted` and `limit` are token counts.
    """

    def __init__(self, used: int, wanted: int, limit: int) -> None:
        self.used, self.wanted, self.limit = used, wanted, limit
        super().__init__(
            f"the context is full: {used} tokens are in use, {wanted} more are needed, "
            f"{limit} is the limit"
        )


def did_you_mean(
    name: str, known: Iterable[str], *, list_all: bool = True, cutoff: float = 0.6
) -> str:
    """A hint about an unknown name: the closest known one, or else all of them if `list_all`.

    Empty when there is nothing to suggest.
    """
    import difflib

    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Known: {', '.join(names)}." if names and list_all else ""
