"""Configuration: one typed tree, merged from TOML files, environment and flags.

The order of precedence is flags, environment (`LAGUNA_MODEL`, ...), project (when trusted), user,
defaults. A project's file may not set anything that reaches outside it; see `PROJECT_FORBIDDEN`.
Errors name the file and the key.

Over 400 lines because the whole tree stands in one place, from which its document is made.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from laguna_agent.actions import Mode, Verdict
from laguna_agent.errors import UsageError, did_you_mean
from laguna_agent.paths import config_dir
from laguna_agent.toml_errors import key_line, readable, syntax_mistake, toml_line


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EngineConfig(_Section):
    """How the local engine runs. Without a value, laguna measures or chooses one."""

    context: int | None = Field(default=None, ge=256)
    """Tokens of context; by default what fits in memory."""
    keep_alive: int = Field(default=600, ge=0)
    """Seconds after which an idle engine ends; 0 ends it at once."""
    threads: int | None = Field(default=None, ge=1)
    """Threads for single tokens; by default measured."""
    batch: int | None = Field(default=None, ge=1)
    """Tokens that llama.cpp takes at once."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Tokens that llama.cpp computes at once; by default measured."""
    flash_attention: bool | None = None
    """By default llama.cpp's choice."""
    kv_type: Literal["f16", "q8_0", "q4_0"] = "f16"
    """How the KV cache is kept; `q8_0` takes half the memory of `f16`."""
    gpu_layers: int | None = None
    """Layers on the graphics card; by default as many as fit."""
    cpu_experts: int | None = Field(default=None, ge=0)
    """Layers whose experts stay on the CPU."""
    repack: bool | None = None
    """Lay weights out anew for this processor; by default measured."""
    mmap: bool = True
    """Map the file instead of reading it."""
    speculation: Literal[True, False, "exact"] = True
    """Draft tokens from the context. "exact": only drafts short enough that llama.cpp computes
    them bit for bit like single tokens, which takes other kernels; see `_exact`."""
    snapshots: bool = True
    """Keep the state of prompts on disk, so that none is read twice."""
    snapshots_gib: float = Field(default=8.0, ge=0)
    """Most GiB of snapshots, of all models together."""

    @model_validator(mode="after")
    def _exact(self) -> EngineConfig:
        """For exact speculation, default to settings with which llama.cpp uses the same kernel for
        one token and for several."""
        if self.speculation == "exact":
            self.repack = bool(self.repack)
            self.flash_attention = self.flash_attention is not False
            if self.kv_type == "f16":
                self.kv_type = "q8_0"
        return self


class SamplingConfig(_Section):
    """Overrides of the sampling that the model recommends."""

    temperature: float | None = Field(default=None, ge=0)
    """0 is greedy."""
    top_k: int | None = Field(default=None, ge=0)
    """Only the most probable tokens; 0 for all."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Only the most probable tokens that make up this share."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Only tokens at least this fraction as probable as the best."""
    seed: int | None = None
    """The same seed draws the same tokens."""


class LimitsConfig(_Section):
    """Limits that end a turn: steps, generated tokens, seconds."""

    steps: int | None = Field(default=None, ge=1)
    """Replies of one turn; by default the prompt pack's, 100."""
    tokens: int | None = Field(default=None, ge=1)
    """Generated tokens of one turn."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds of one turn."""


class RuleConfig(_Section):
    """One policy rule; exactly one of `tool`, `path`, `command`, `host` names its subject."""

    verdict: Verdict
    """Deny wins, then ask, then allow; `path`, `command` and the others say of what."""
    tool: str | None = None
    """Name of a tool."""
    path: str | None = None
    """A path relative to the workspace, absolute or with `~`; a folder covers what is below it."""
    write: bool = False
    """The rule covers writing to `path`; without it, an allow rule covers reading."""
    command: str | None = None
    """A command, word by word; a last `*` matches any further words."""
    host: str | None = None
    """Name of a host."""

    @model_validator(mode="after")
    def _one_subject(self) -> RuleConfig:
        subjects = (self.tool, self.path, self.command, self.host)
        if sum(bool(subject) for subject in subjects) != 1:
            raise ValueError("a rule needs exactly one of `tool`, `path`, `command`, `host`")
        return self


class EnvironmentConfig(_Section):
    """The variables that commands inherit."""

    passed: list[str] = Field(default=[], alias="pass")
    """Names of variables, or patterns with `*`, that commands get although they look like secrets
    or make programs run others."""


class PolicyConfig(_Section):
    """What may run."""

    rules: list[RuleConfig] = []
    """See `[[policy.rules]]`."""
    sandbox: bool = True
    """Run commands in a sandbox where there is one."""
    network: bool = False
    """Let commands use the network."""
    writable: list[str] = []
    """Paths outside the workspace that commands may write to."""
    environment: EnvironmentConfig = EnvironmentConfig()


class ProviderConfig(_Section):
    """A server with the OpenAI chat completions API."""

    url: str
    """Where the API is, such as `http://192.168.1.20:8080/v1`."""
    key_env: str | None = None
    """Name of the environment variable that holds the API key."""
    context: int | None = None
    """Tokens of context; by default what the server says."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds that the server may send nothing. None: by the length of the prompt."""
    ca: str | None = None
    """A PEM file with the certificate of the server, or the one that signed it."""


class MemoryConfig(_Section):
    """Long-horizon memory."""

    enabled: bool = True
    """Recall past work, and remember this."""
    budget: int = Field(default=400, ge=0)
    """Tokens of memories in the first message of a task."""


class TrajectoryConfig(_Section):
    """What is recorded beyond what resuming a session needs."""

    logprobs: bool = False
    """Record the log-probability of each token that a local model generates."""


class TuiConfig(_Section):
    """The terminal interface."""

    theme: str | None = None
    """Name of the colours; `/theme` lists them."""
    mouse: bool = True
    """Use the mouse."""
    editor: str | None = None
    """Command of your editor; by default `VISUAL` or `EDITOR`."""


class HookConfig(_Section):
    """A command that runs at an event of a session."""

    on: Literal["before_tool", "after_tool", "on_prompt", "turn_end"]
    """The event at which it runs."""
    command: str
    """Run by bash in the repository, with JSON on its standard input."""
    tools: list[str] = []
    """For `before_tool` and `after_tool`: patterns of tool names (`shell`, `git*`); by default
    every tool."""
    timeout: float = Field(default=30, gt=0, le=600)
    """Seconds after which it is ended."""
    required: bool = False
    """A failing hook denies the call or prompt, instead of only showing a notice."""
    sandbox: bool = True
    """Run in the sandbox; false, in the user's own file only, runs it with the user's rights."""

    @model_validator(mode="after")
    def _fits_event(self) -> HookConfig:
        if self.tools and self.on not in ("before_tool", "after_tool"):
            raise ValueError("`tools` goes with before_tool and after_tool")
        return self


class Config(_Section):
    """The whole configuration."""

    model: str | None = None
    """Name of a model, or `PROVIDER/NAME`; by default the best installed."""
    pack: str | None = None
    """Name of a prompt pack; by default the one for the model."""
    mode: Mode | None = None
    """What runs without asking; by default `ask`, and `auto` for `--task`."""
    thinking: bool | None = None
    """Think before answering, where the model can; by default as the pack says."""
    offline: bool = False
    """Use no network."""
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
    ("policy", "environment"),
    ("engine",),
)
"""Keys that a project's file may not set, even when the user trusts it."""

ENVIRONMENT = {"LAGUNA_MODEL": "model", "LAGUNA_PACK": "pack", "LAGUNA_MODE": "mode"}
"""Variables that set a key."""


def load_config(
    *,
    flags: Mapping[str, Any] | None = None,
    project: Path | None = None,
    user: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read and merge the configuration.

    `flags` is a tree of the same shape, with None for flags that were not given. `project` is the
    file of a trusted repository. Raises UsageError that names the file and the key.
    """
    environment = os.environ if environment is None else environment
    tree: dict[str, Any] = {}
    for path, is_project in ((user or config_dir() / "config.toml", False), (project, True)):
        if path is None or not path.exists():
            continue
        text, data = read_toml(path)
        if is_project:
            _refuse_forbidden(path, text, data)
        _validate(data, path, text)
        merge(tree, data)
    for variable, key in ENVIRONMENT.items():
        if environment.get(variable):
            _validate({key: environment[variable]}, variable)
            tree[key] = environment[variable]
    if environment.get("LAGUNA_OFFLINE", "") not in ("", "0"):
        tree["offline"] = True
    if flags:
        merge(tree, flags)
    return _validate(tree, "the configuration")


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and what it holds. Raises UsageError that names the line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        return text, tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        line = toml_line(str(error))
        why = re.sub(r"\(at line (\d+), column (\d+)\)", r"(column \2)", str(error))
        raise UsageError(
            f"{_at(path, line)} is not valid TOML: {why[:1].lower()}{why[1:]}",
            hint=(syntax_mistake(text.split("\n")[line - 1]) if line else "") or None,
        ) from error


def _at(where: object, line: int | None) -> str:
    return f"{where}:{line}" if line else str(where)


def _refuse_forbidden(path: Path, text: str, data: Mapping[str, Any]) -> None:
    policy = data.get("policy")
    given = policy.get("rules") if isinstance(policy, Mapping) else None
    for rule in given if isinstance(given, list) else ():
        if not isinstance(rule, Mapping) or rule.get("verdict") not in ("ask", "deny"):
            raise UsageError(
                f"{_at(path, key_line(text, ['policy', 'rules']))}: "
                "rules of a project may only ask or deny",
                hint=f"Put rules that allow into {config_dir() / 'config.toml'}.",
            )
    hooks = data.get("hooks")
    for hook in hooks if isinstance(hooks, list) else ():
        if isinstance(hook, Mapping) and hook.get("sandbox", True) is not True:
            raise UsageError(
                f"{_at(path, key_line(text, ['hooks']))}: hooks of a project run in the sandbox",
                hint=f"Put one that runs outside into {config_dir() / 'config.toml'}.",
            )
    for keys in PROJECT_FORBIDDEN:
        node: Any = data
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        if node is not None:
            raise UsageError(
                f"{_at(path, key_line(text, keys))}: a project may not set `{'.'.join(keys)}`",
                hint=f"Set it in {config_dir() / 'config.toml'} if you want it.",
            )


def _validate(data: Mapping[str, Any], where: object, text: str = "") -> Config:
    """Check a tree; `text` is that of its file `where`. Raises UsageError for the first mistake."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        # An unknown key first: it is often the reason why another one is missing.
        first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        more = error.error_count() - 1
        place = _at(where, key_line(text, first["loc"]))
        key = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
        rest = f" ({more} more)" if more else ""
        if first["type"] == "extra_forbidden":
            hint = _suggestion(first["loc"])
            raise UsageError(f"{place}: unknown key `{key}`{rest}", hint=hint) from error
        raise UsageError(f"{place}: `{key}`{_wrong(first)}{rest}") from error


def _wrong(item: Any) -> str:
    said = readable(item).removeprefix("input ")
    return f" {said}" if said.startswith(("should", "is ")) else f": {said}"


def _suggestion(location: Sequence[int | str]) -> str | None:
    """Where an unknown key belongs: the nearest name in its own section, else in another one."""
    name, here = str(location[-1]), [part for part in location[:-1] if isinstance(part, str)]
    sections = {"": Config.model_fields, **_sections()}
    for section, fields in sections.items():
        if name in fields:
            return f"It belongs in [{section}]." if section else "It belongs above all sections."
    if hint := did_you_mean(name, sections.get(".".join(here), {}), list_all=False):
        return hint
    known = {key: section for section, fields in sections.items() for key in fields}
    close = did_you_mean(name, known, list_all=False)
    section = known.get(close.split("`")[1], "") if close else ""
    return f"{close[:-1]}, in [{section}]?" if section else close or None


def _sections() -> dict[str, Mapping[str, Any]]:
    """The keys of each section, by its name."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            found[name] = field.annotation.model_fields
    return {
        **found,
        "policy.environment": {"pass": EnvironmentConfig.model_fields["passed"]},
        "policy.rules": RuleConfig.model_fields,
        "providers.NAME": ProviderConfig.model_fields,
        "hooks": HookConfig.model_fields,
    }


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Merge `over` into `base` in place: None changes nothing, lists are concatenated."""
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
