"""`tools/<name>.md`: TOML front matter, then the description that the model reads.

The file of a built-in tool changes its description, argument docs and limits. A file with
`command` defines a new tool, which runs in the session's shell.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from laguna_agent.front_matter import FENCE, split_front_matter
from laguna_agent.prompts.loader.problems import PackError, Problem, from_validation
from laguna_agent.toml_errors import toml_line


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArgumentSpec(_Table):
    """One argument. Files of built-in tools may only set `doc` and `hidden`."""

    doc: str | None = None
    """Description for the model; "" removes that of a built-in tool."""
    hidden: bool = False
    """Not declared to the model. The argument needs a default."""
    type: Literal["string", "path", "choice", "number", "flag"] | None = None
    default: str | int | float | bool | None = None
    optional: bool = False
    choices: list[str] = []
    flag: str | None = None
    """For a flag: the text to insert when it is true."""
    minimum: float | None = None
    maximum: float | None = None
    integer: bool = True
    """For a number."""
    exists: bool = True
    """For a path: the file or folder must exist."""
    dash: bool = False
    """For a string: a value may begin with a dash, which makes it an option."""
    max_length: int = Field(default=2_000, ge=1)

    @model_validator(mode="after")
    def _fits_type(self) -> ArgumentSpec:
        if self.type == "choice" and not self.choices:
            raise ValueError("a choice needs `choices`")
        if self.type != "choice" and self.choices:
            raise ValueError('`choices` needs `type = "choice"`')
        if self.type == "flag" and not self.flag:
            raise ValueError('a flag needs `flag`, the option that it sets, such as "-v"')
        if self.type != "flag" and self.flag:
            raise ValueError('`flag` needs `type = "flag"`')
        if self.type == "choice" and self.default is not None and self.default not in self.choices:
            raise ValueError("`default` is not one of the choices")
        return self


class OutputSpec(_Table):
    """Filters of a command's output, applied in this order: keep, drop, head and tail."""

    keep: str | None = None
    """Regular expression of the lines to keep."""
    drop: str | None = None
    """Regular expression of the lines to drop."""
    head: int | None = Field(default=None, ge=0)
    tail: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _patterns(self) -> OutputSpec:
        for key in ("keep", "drop"):
            try:
                re.compile(getattr(self, key) or "")
            except re.error as error:
                raise ValueError(f"`{key}` is not a regular expression: {error}") from error
        return self


class ToolFile(_Table):
    """The front matter."""

    enabled: bool = True
    kind: Literal["read", "edit", "execute", "git", "network", "plan", "done"] | None = None
    max_output: int | None = Field(default=None, ge=200)
    """Characters of the result."""
    arguments: dict[str, ArgumentSpec] = {}
    examples: list[dict[str, Any]] = []
    """Arguments of example calls, shown after the description."""
    command: str | None = None
    timeout: int = Field(default=120, ge=1, le=7200)
    """Seconds."""
    output: OutputSpec = OutputSpec()
    result: str | None = None
    """Template of the result, with the variables `output`, `exit_code`, `command`, `arguments`."""
    ok_exit_codes: list[int] = [0]


@dataclass(frozen=True)
class ToolText:
    """The content of a tool file."""

    path: Path
    head: ToolFile
    front: str
    """The text of the front matter; its first line is line 2 of the file."""
    body: str
    offset: int
    """Lines above the body."""


_KNOWN = {*ToolFile.model_fields, *ArgumentSpec.model_fields, *OutputSpec.model_fields}


def read_tool(path: Path) -> ToolText:
    """Read one tool file. Raises PackError that names the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PackError([Problem(path, None, f"cannot be read as UTF-8 text: {error}")]) from error
    front, body, offset = split_front_matter(text)
    if offset < 0:
        message = f"the front matter has no closing `{FENCE}`"
        raise PackError([Problem(path, 1, message, f"Close it with a line `{FENCE}`.")])
    try:
        head = ToolFile.model_validate(tomllib.loads(front))
    except tomllib.TOMLDecodeError as error:
        line = toml_line(str(error))
        message = re.sub(r" \(at line.*\)", "", str(error))
        problem = Problem(path, line + 1 if line else None, f"not valid TOML: {message}")
        raise PackError([problem]) from error
    except ValidationError as error:
        raise PackError(from_validation(error, path, front, first=2, known=_KNOWN)) from error
    return ToolText(path, head, front, body, offset)
