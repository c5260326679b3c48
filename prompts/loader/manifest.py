"""`pack.toml`: what a pack extends, which models use it, its limits, sampling and reminders."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from laguna_agent.prompts.loader.problems import PackError, Problem, from_validation
from laguna_agent.toml_errors import toml_line

ReminderEvent = Literal["after_edit", "after_failed_command", "every_n_steps", "before_done"]
AUTO = "auto"
"""As a value of `extends`: the pack that the model's name selects."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PackLimits(_Table):
    """Limits that a pack sets."""

    steps: int = Field(default=100, ge=1)
    """Replies of one turn."""
    reply_tokens: int = Field(default=4096, ge=16)
    result_chars: int = Field(default=12_000, ge=200)
    """Characters of one tool result; `max_output` of a tool file overrides it."""
    prefix_tokens: int = Field(default=1000, ge=1)
    """Tokens of the static prefix, checked by `laguna prompts lint`."""
    instructions_chars: int = Field(default=8_000, ge=0)
    """Characters of AGENTS.md in the first message."""
    first_message_tokens: int = Field(default=4_000, ge=0)
    """Tokens of files, check output and memory that laguna attaches to the task."""


class SamplingOverrides(_Table):
    """Sampling parameters; the model's recommendation where absent."""

    temperature: float | None = Field(default=None, ge=0)
    top_k: int | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repeat_penalty: float | None = Field(default=None, gt=0)
    seed: int | None = None


class ReminderSpec(_Table):
    """Text that laguna appends as a message at an event."""

    on: ReminderEvent | None = None
    text: str | None = None
    file: str | None = None
    """A template of the pack with the variables `step`, `steps_left` and `tool`."""
    every: int | None = Field(default=None, ge=1)
    """For `every_n_steps`: the number of steps between two reminders."""
    times: int | None = Field(default=None, ge=1)
    """Most reminders in one turn; None means no limit."""
    enabled: bool = True

    @model_validator(mode="after")
    def _complete(self) -> ReminderSpec:
        if not self.enabled:
            # A pack may switch off a reminder whether it inherits one or not.
            return self
        if self.on is None:
            raise ValueError("`on` is missing: it says at which event the text is added")
        if (self.text is None) == (self.file is None):
            raise ValueError("give either `text` or `file`")
        if (self.on == "every_n_steps") != (self.every is not None):
            raise ValueError('`every` goes with `on = "every_n_steps"`, and only with that')
        return self


class Manifest(_Table):
    """One `pack.toml`. All keys except the first four are inherited."""

    description: str = ""
    extends: str | None = None
    models: list[str] = []
    """Patterns of the names of models that use this pack by default (`laguna-xs*`, any case)."""
    models_below: float | None = Field(default=None, gt=0)
    """Models with fewer parameters than this (in billions) use this pack too, unless another pack
    names them."""
    chat_format: str | None = None
    """A chat format to use in place of the model's own, such as `fenced`."""
    thinking: bool | None = None
    thinking_budget: int | None = Field(default=None, ge=1)
    """Tokens of thinking in one reply."""
    tools: list[str] | None = None
    """The declared built-in tools, in order; None means every enabled one."""
    own_tools: Literal["all", "read", "none"] = "all"
    """Which of the pack's own tools are declared too; `read`: those of kind `read`."""
    call_required: bool = False
    """The grammar requires a tool call in every reply."""
    check_first: bool = True
    """The task's check runs before the first reply; the first message has its output."""
    check_after_change: bool = False
    """The task's check runs after each change and ends the turn when it passes."""
    limits: PackLimits = PackLimits()
    sampling: SamplingOverrides = SamplingOverrides()
    reminders: dict[str, ReminderSpec] = {}


OWN = ("description", "extends", "models", "models_below")
"""Keys about the pack itself, which are not inherited."""

_KNOWN = {
    *Manifest.model_fields,
    *PackLimits.model_fields,
    *SamplingOverrides.model_fields,
    *ReminderSpec.model_fields,
}


def read_manifest(path: Path) -> dict[str, Any]:
    """Read one file and check its keys and types. Raises PackError that names the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = Problem(path, toml_line(str(error)), f"not valid TOML: {error}")
        raise PackError([problem]) from error
    except UnicodeDecodeError as error:
        raise PackError([Problem(path, None, "not UTF-8 text", "Save it as UTF-8.")]) from error
    except OSError as error:
        raise PackError([Problem(path, None, f"cannot be read: {error.strerror}")]) from error
    # A file may override single keys of a reminder, which is then only complete once merged.
    alone = {key: value for key, value in data.items() if key != "reminders"}
    check_manifest(alone, path)
    return data


def check_manifest(data: Mapping[str, Any], path: Path) -> Manifest:
    """The typed manifest. Raises PackError with the lines of the wrong keys in `path`."""
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        text = path.read_text(encoding="utf-8-sig")
        raise PackError(from_validation(error, path, text, first=1, known=_KNOWN)) from error
