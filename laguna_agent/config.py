"""Configuration: one typed tree, read from TOML, layered, with errors that name file and key.

Order, first wins: flags, environment (`LAGUNA_MODEL`, ...), project (when trusted), user, defaults.
A project's file may not set what reaches outside it; see `PROJECT_FORBIDDEN`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from laguna_agent.actions import Mode, Verdict
from laguna_agent.errors import UsageError
from laguna_agent.paths import config_dir


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EngineConfig(_Section):
    """How the local engine runs. None means: measured or chosen by laguna."""

    context: int | None = Field(default=None, ge=256)
    keep_alive: int = Field(default=600, ge=0)
    """Seconds an idle engine lives on; 0 ends it at once."""
    threads: int | None = Field(default=None, ge=1)
    batch: int | None = Field(default=None, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    flash_attention: bool | None = None
    kv_type: Literal["f16", "q8_0", "q4_0"] = "f16"
    gpu_layers: int | None = None
    cpu_experts: int | None = Field(default=None, ge=0)
    """Layers whose experts stay on the CPU."""
    repack: bool | None = None
    mmap: bool = True
    speculation: Literal[True, False, "exact"] = True
    """Drafts from the context. "exact": only as long ones as are computed to the bit like single
    tokens, which takes other kernels; see `_exact`."""
    snapshots: bool = True
    snapshots_gib: float = Field(default=8.0, ge=0)

    @model_validator(mode="after")
    def _exact(self) -> EngineConfig:
        """Settings with which llama.cpp has one kernel for one token and for several, where no
        others were made."""
        if self.speculation == "exact":
            self.repack = bool(self.repack)
            self.flash_attention = self.flash_attention is not False
            if self.kv_type == "f16":
                self.kv_type = "q8_0"
        return self


class SamplingConfig(_Section):
    """Overrides of the model's recommended sampling."""

    temperature: float | None = Field(default=None, ge=0)
    top_k: int | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = None


class LimitsConfig(_Section):
    """When a turn stops by itself."""

    steps: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    timeout: float | None = Field(default=None, gt=0)


class RuleConfig(_Section):
    """One policy rule; exactly one of `tool`, `path`, `command`, `host` names what it is about."""

    verdict: Verdict
    tool: str | None = None
    path: str | None = None
    write: bool = False
    command: str | None = None
    host: str | None = None

    @model_validator(mode="after")
    def _one_subject(self) -> RuleConfig:
        subjects = (self.tool, self.path, self.command, self.host)
        if sum(bool(subject) for subject in subjects) != 1:
            raise ValueError("a rule needs exactly one of `tool`, `path`, `command`, `host`")
        return self


class PolicyConfig(_Section):
    """What may run."""

    rules: list[RuleConfig] = []
    sandbox: bool = True
    network: bool = False
    writable: list[str] = []
    """Paths outside the workspace that children may write."""


class ProviderConfig(_Section):
    """A server that speaks the OpenAI chat completions API."""

    url: str
    key_env: str | None = None
    """Name of the environment variable that holds the key."""
    context: int | None = None


class MemoryConfig(_Section):
    """Long-horizon memory."""

    enabled: bool = True
    budget: int = Field(default=400, ge=0)
    """Tokens of memories in the first message of a task."""


class TrajectoryConfig(_Section):
    """What is recorded of a session beyond what resuming it needs."""

    logprobs: bool = False
    """The log-probability of each token that a local model writes."""


class TuiConfig(_Section):
    """The terminal interface."""

    theme: str | None = None
    mouse: bool = True
    editor: str | None = None


class HookConfig(_Section):
    """A command of the user's that runs at an event; see `laguna_agent.agent.hooks`."""

    on: Literal["before_tool", "after_tool", "on_prompt", "turn_end"]
    command: str
    """Run by bash in the repository, with JSON on its standard input."""
    tools: list[str] = []
    """Patterns of tool names (`shell`, `git*`); empty is every tool."""
    timeout: float = Field(default=30, gt=0, le=600)
    """Seconds."""
    required: bool = False
    """A failure denies the call or prompt instead of only being shown."""


class Config(_Section):
    """The whole configuration."""

    model: str | None = None
    pack: str | None = None
    mode: Mode | None = None
    thinking: bool | None = None
    offline: bool = False
    engine: EngineConfig = EngineConfig()
    sampling: SamplingConfig = SamplingConfig()
    limits: LimitsConfig = LimitsConfig()
    policy: PolicyConfig = PolicyConfig()
    providers: dict[str, ProviderConfig] = {}
    memory: MemoryConfig = MemoryConfig()
    trajectory: TrajectoryConfig = TrajectoryConfig()
    tui: TuiConfig = TuiConfig()
    hooks: list[HookConfig] = []


PROJECT_FORBIDDEN: tuple[tuple[str, ...], ...] = (
    ("providers",),
    ("model",),
    ("mode",),
    ("offline",),
    ("policy", "sandbox"),
    ("policy", "network"),
    ("policy", "writable"),
    ("engine",),
)
"""Keys that a repository's own file may not set, whatever the user trusts."""

_ENVIRONMENT = {"LAGUNA_MODEL": "model", "LAGUNA_PACK": "pack", "LAGUNA_MODE": "mode"}


def load_config(
    *,
    flags: Mapping[str, Any] | None = None,
    project: Path | None = None,
    user: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read and layer the configuration.

    `flags` is a tree of the same shape, with None for what was not given. `project` is a trusted
    repository's file. Raises UsageError that names the file and the key.
    """
    environment = os.environ if environment is None else environment
    tree: dict[str, Any] = {}
    for path, is_project in ((user or config_dir() / "config.toml", False), (project, True)):
        if path is None or not path.exists():
            continue
        data = _read(path)
        if is_project:
            _refuse_forbidden(path, data)
        _validate(data, str(path))
        merge(tree, data)
    for variable, key in _ENVIRONMENT.items():
        if environment.get(variable):
            tree[key] = environment[variable]
    if environment.get("LAGUNA_OFFLINE", "") not in ("", "0"):
        tree["offline"] = True
    if flags:
        merge(tree, flags)
    return _validate(tree, "the configuration")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _refuse_forbidden(path: Path, data: Mapping[str, Any]) -> None:
    policy = data.get("policy")
    given = policy.get("rules") if isinstance(policy, Mapping) else None
    for rule in given if isinstance(given, list) else ():
        if not isinstance(rule, Mapping) or rule.get("verdict") not in ("ask", "deny"):
            raise UsageError(
                f"{path}: a project's rules may only ask or deny",
                hint=f"A rule that allows belongs in {config_dir() / 'config.toml'}.",
            )
    for keys in PROJECT_FORBIDDEN:
        node: Any = data
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        if node is not None:
            raise UsageError(
                f"{path}: a project may not set `{'.'.join(keys)}`",
                hint=f"Set it in {config_dir() / 'config.toml'} if you want it.",
            )


def _validate(data: Mapping[str, Any], where: str) -> Config:
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: `{key}`: {first['msg']}") from error


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lay `over` upon `base` in place; None in `over` leaves what is there. Lists add up."""
    for key, value in over.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            node = base.setdefault(key, {})
            merge(node, value)
        elif isinstance(value, list) and isinstance(base.get(key), list):
            base[key] = [*base[key], *value]
        else:
            base[key] = value
