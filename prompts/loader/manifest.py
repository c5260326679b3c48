"""`pack.toml`: what a pack extends, which models pick it, its limits, sampling and reminders."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from laguna_agent.prompts.loader.problems import PackError, Problem, from_validation, toml_line

ReminderEvent = Literal["after_edit", "after_failed_command", "every_n_steps", "before_done"]
AUTO = "auto"
"""As `extends`: the pack that the model would pick by its name."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PackLimits(_Table):
    """Budgets of a pack. Characters count what the model reads, tokens what it costs."""

    steps: int = Field(default=100, ge=1)
    """Replies in one turn."""
    reply_tokens: int = Field(default=4096, ge=16)
    result_chars: int = Field(default=12_000, ge=200)
    """Characters of one tool result; a tool file may set its own."""
    prefix_tokens: int = Field(default=1000, ge=1)
    """The static prefix; `laguna prompts lint` holds the pack to it."""
    instructions_chars: int = Field(default=8_000, ge=0)
    """Characters of AGENTS.md in the first message."""
    first_message_tokens: int = Field(default=4_000, ge=0)
    """Files, check output and memory that laguna puts beside the task."""


class SamplingOverrides(_Table):
    """How tokens are drawn; what is absent is what the model recommends."""

    temperature: float | None = Field(default=None, ge=0)
    top_k: int | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repeat_penalty: float | None = Field(default=None, gt=0)
    seed: int | None = None


class ReminderSpec(_Table):
    """Text that is appended as a message at an event."""

    on: ReminderEvent | None = None
    text: str | None = None
    file: str | None = None
    """A template of the pack; it may use `step`, `steps_left` and `tool`."""
    every: int | None = Field(default=None, ge=1)
    """For `every_n_steps`: how many steps lie between two."""
    times: int | None = Field(default=None, ge=1)
    """How often in one turn; None is always."""
    enabled: bool = True

    @model_validator(mode="after")
    def _complete(self) -> ReminderSpec:
        if not self.enabled:
            # A pack may switch off what it does or does not inherit.
            return self
        if self.on is None:
            raise ValueError("`on` says at which event the text is added, and is missing")
        if (self.text is None) == (self.file is None):
            raise ValueError("give either `text` or `file`")
        if (self.on == "every_n_steps") != (self.every is not None):
            raise ValueError('`every` goes with `on = "every_n_steps"`, and only with that')
        return self


class Manifest(_Table):
    """One `pack.toml`. Everything but the first three is inherited key by key."""

    description: str = ""
    extends: str | None = None
    models: list[str] = []
    """Patterns of model names (`laguna-xs*`, case ignored) that pick this pack by themselves."""
    chat_format: str | None = None
    """A chat format other than the model's own, such as `fenced`."""
    thinking: bool | None = None
    thinking_budget: int | None = Field(default=None, ge=1)
    """Tokens of thought in one reply."""
    tools: list[str] | None = None
    """The built-in tools that are declared, in this order; None is every enabled one."""
    own_tools: Literal["all", "read", "none"] = "all"
    """Which tools written in text are declared besides; `read` takes those of that kind."""
    call_required: bool = False
    """Every reply must hold a call, held by the grammar."""
    check_first: bool = True
    """The task's check runs before the first reply, and its output stands in the first message."""
    check_after_change: bool = False
    """The task's check runs after each change, and its passing ends the turn."""
    limits: PackLimits = PackLimits()
    sampling: SamplingOverrides = SamplingOverrides()
    reminders: dict[str, ReminderSpec] = {}


OWN = ("description", "extends", "models")
"""Keys that say something about the pack itself and are not inherited."""

_KNOWN = {
    *Manifest.model_fields,
    *PackLimits.model_fields,
    *SamplingOverrides.model_fields,
    *ReminderSpec.model_fields,
}


def read_manifest(path: Path) -> dict[str, Any]:
    """The tree of one file, checked for unknown keys and wrong types by itself.

    Raises PackError that names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = Problem(path, toml_line(str(error)), f"not valid TOML: {error}")
        raise PackError([problem]) from error
    except UnicodeDecodeError as error:
        raise PackError([Problem(path, None, "not UTF-8 text", "Save it as UTF-8.")]) from error
    except OSError as error:
        raise PackError([Problem(path, None, f"cannot be read: {error.strerror}")]) from error
    # A file that overrides one key of a reminder is complete only together with what it overrides.
    alone = {key: value for key, value in data.items() if key != "reminders"}
    check_manifest(alone, path)
    return data


def check_manifest(data: Mapping[str, Any], path: Path) -> Manifest:
    """The typed manifest. Raises PackError with the lines of `path` in which the keys stand."""
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        text = path.read_text(encoding="utf-8")
        raise PackError(from_validation(error, path, text, first=1, known=_KNOWN)) from error
