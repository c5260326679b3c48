"""Errors that a person sees: what happened, why, and what to do, with an exit code."""

from __future__ import annotations

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
    """An expected failure. `str(error)` is one or two lines that a person can act on."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message}\n{hint}" if hint else message)


class UsageError(LagunaError):
    """Wrong flags, arguments or configuration."""

    exit_code = ExitCode.USAGE


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
