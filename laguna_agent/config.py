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
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_serializer,
    model_validator,
)

from laguna_agent.actions import Mode, Verdict
from laguna_agent.errors import UsageError, did_you_mean
from laguna_agent.mcp_json import MCP_JSON, MOST_SERVERS, read_mcp_json
from laguna_agent.paths import config_dir
from laguna_agent.toml_errors import key_line, readable, syntax_mistake, toml_line

McpOrigin = Literal["user", "project", "editor"]
VARIABLE = re.compile(r"\$\{(\w+)\}")
"""A variable of the environment in the value of a header."""
_OWN_HEADERS = {"content-length", "transfer-encoding", "content-type", "connection", "accept"}


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
    """One policy rule; one of `tool`, `path`, `command`, `host`, `mcp` names its subject."""

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
    mcp: str | None = None
    """A tool of an MCP server, as `SERVER/TOOL`; either may be a pattern with `*`."""
    added: date | None = None
    """The day on which an approval added the rule; laguna only shows it."""

    @field_serializer("added")
    def _as_text(self, added: date | None) -> str | None:
        return added.isoformat() if added else None

    @model_validator(mode="after")
    def _one_subject(self) -> RuleConfig:
        subjects = (self.tool, self.path, self.command, self.host, self.mcp)
        if sum(bool(subject) for subject in subjects) != 1:
            raise ValueError("a rule needs exactly one of `tool`, `path`, `command`, `host`, `mcp`")
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


class DialectConfig(_Section):
    """What a server accepts, where it is known; by default laguna learns it from refusals."""

    tools: Literal["native", "text"] | None = None
    """`text`: describe the tools in the system prompt, and find calls in the text."""
    alternate: bool | None = None
    """Roles must alternate: notes become part of the message before them."""
    system: bool | None = None
    """false: the system prompt is part of the first user message."""
    short_ids: bool | None = None
    """Ids of calls have nine letters and digits."""
    thoughts: Literal["given", "always", "never"] | None = None
    """Whether replies go back with their thoughts."""
    without: list[str] = []
    """Fields of a request that are left out, such as `seed`."""
    fields: dict[str, Any] = {}
    """Fields that each request has in addition, such as `reasoning_effort`."""

    @model_validator(mode="after")
    def _not_own(self) -> DialectConfig:
        for name in self.fields.keys() & {"messages", "tools", "model", "stream"}:
            raise ValueError(f"the field `{name}` is laguna's own")
        return self


class ProviderConfig(_Section):
    """A server with the OpenAI chat completions API. At most one of `key_env`, `key_file` and
    `key_command` names its key."""

    url: str
    """Where the API is, such as `http://192.168.1.20:8080/v1`."""
    key_env: str | None = None
    """Name of the environment variable that holds the API key."""
    key_file: str | None = None
    """A file that holds the key, outside of any repository: an absolute path, or one with `~`."""
    key_command: str | None = None
    """A command that prints the key, such as `pass show box`; run once, without a shell."""
    headers: dict[str, str] = {}
    """Headers of each request; `${NAME}` in one stands for a variable of the environment."""
    context: int | None = None
    """Tokens of context; by default what the server says."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds that the server may send nothing. None: by the length of the prompt."""
    loading_timeout: float | None = Field(default=None, gt=0)
    """Seconds to wait for a server that reports that it is loading or busy; by default 300."""
    ca: str | None = None
    """A PEM file with the certificate of the server, or the one that signed it."""
    verify: bool = True
    """false: accept any certificate, which the status line then says; better is `ca`."""
    dialect: DialectConfig = DialectConfig()

    @model_validator(mode="after")
    def _one_key(self) -> ProviderConfig:
        given = [name for name in ("key_env", "key_file", "key_command") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"only one of `{given[0]}` and `{given[1]}` can name the key")
        if self.ca and not self.verify:
            raise ValueError("`ca` has no effect with `verify = false`")
        for name, value in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
                raise ValueError(f"`{name}` is not the name of a header")
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"the header `{name}` cannot be set")
            if not re.fullmatch(r"[\t -~]*", value):
                raise ValueError(f"the value of header `{name}` must be plain text in one line")
        return self

    def variables(self) -> set[str]:
        """Names of the variables that hold its key and parts of its headers."""
        named = {name for value in self.headers.values() for name in VARIABLE.findall(value)}
        return named | ({self.key_env} if self.key_env else set())


class McpServerConfig(_Section):
    """An MCP server: a `command` that laguna starts, or a `url`. With neither, these are settings
    for a server of that name that a project or an editor defines."""

    command: str | None = None
    """A program that speaks MCP on its standard input and output."""
    args: list[str] = []
    """Its arguments."""
    env: dict[str, str] = {}
    """Variables for it, which gets no others but `PATH`, `HOME` and the like. `${NAME}` is a
    variable of yours, `${NAME:-text}` one with a default; so in `args`, `url` and `headers`."""
    cwd: str | None = None
    """The directory it starts in, relative to the repository. By default the repository, but your
    home for a server of yours with `network`, `env` or without the sandbox: many load what lies
    where they start."""
    url: str | None = None
    """Where a server with streamable HTTP is."""
    headers: dict[str, str] = {}
    """Headers of each request to `url`."""
    sandbox: bool = True
    """Run `command` in the sandbox; false, in your own file only, runs it with your rights."""
    network: bool = False
    """Let `command` use the network, which a `npx` or `uvx` needs that fetches the server."""
    declare: list[str] = []
    """Tools that the model always sees, for some tokens each; it finds the others by the tool
    `mcp`."""
    enabled: bool = True
    """Use this server."""
    startup_timeout: float = Field(default=60, gt=0)
    """Seconds until it must have listed its tools."""
    timeout: float = Field(default=300, gt=0)
    """Seconds of a call after which it is cancelled."""
    _origin: McpOrigin = PrivateAttr("user")

    @property
    def origin(self) -> McpOrigin:
        """Who defines what runs."""
        return self._origin

    def defined_by(self, origin: McpOrigin) -> McpServerConfig:
        """A copy that says who defines what runs."""
        copy = self.model_copy()
        copy._origin = origin
        return copy

    @property
    def is_defined(self) -> bool:
        """Whether this says what runs, and is more than settings for it."""
        return self.command is not None or self.url is not None

    @model_validator(mode="after")
    def _one_transport(self) -> McpServerConfig:
        if self.command is not None and self.url is not None:
            raise ValueError("a server has a `command` or a `url`, not both")
        if self.command is None and (self.args or self.cwd is not None):
            raise ValueError("`args` and `cwd` go with `command`")
        if self.url is None and self.headers:
            raise ValueError("`headers` go with `url`")
        if self.url is not None and not self.url.startswith(("http://", "https://", "${")):
            raise ValueError("`url` begins with http:// or https://")
        return self


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
    mcp: dict[str, McpServerConfig] = {}
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

MCP_OWN = ("sandbox", "network")
"""Settings of MCP servers that only the user's own file has."""

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
    `.laguna/config.toml` of a trusted repository, whose `.mcp.json` is read too. Raises UsageError
    that names the file and the key.
    """
    environment = os.environ if environment is None else environment
    tree: dict[str, Any] = {}
    of_project: set[str] = set()
    for path, is_project in ((user or config_dir() / "config.toml", False), (project, True)):
        if path is None:
            continue
        text, data = read_toml(path) if path.exists() else ("", {})
        if is_project:
            _refuse_forbidden(path, text, data)
        _validate(data, path, text)
        if is_project:
            shared = path.parents[1] / MCP_JSON
            servers = read_mcp_json(shared)
            _validate({"mcp": servers}, shared)
            servers |= data.pop("mcp", {})
            of_project = _add_servers(tree.setdefault("mcp", {}), servers)
        merge(tree, data)
    for variable, key in ENVIRONMENT.items():
        if environment.get(variable):
            _validate({key: environment[variable]}, variable)
            tree[key] = environment[variable]
    if environment.get("LAGUNA_OFFLINE", "") not in ("", "0"):
        tree["offline"] = True
    if flags:
        merge(tree, flags)
    config = _validate(tree, "the configuration")
    for name in of_project:
        config.mcp[name] = config.mcp[name].defined_by("project")
    return config


def _add_servers(own: dict[str, Any], others: Mapping[str, Any]) -> set[str]:
    """Add MCP servers to the user's `own`; returns the names of those that were added.

    A server that the user defines wins as a whole, so that what one file says about the sandbox
    never holds for what another one runs.
    """
    added = set()
    for name, given in others.items():
        settings = own.get(name, {})
        if settings.get("command") is None and settings.get("url") is None:
            own[name] = {**given, **{k: v for k, v in settings.items() if k != "sandbox"}}
            added.add(name)
    return added


def mcp_servers(
    config: Config, of_editor: Mapping[str, McpServerConfig] | None = None
) -> dict[str, McpServerConfig]:
    """The MCP servers to use by name, with those that an editor hands over.

    Of one that the user defines too, the user's is used; settings without a definition hold for the
    editor's.
    """
    servers = dict(config.mcp)
    for name, given in (of_editor or {}).items():
        own = servers.get(name)
        if own is None or not own.is_defined or own.origin == "project":
            mine = own if own is not None and own.origin == "user" else None
            settings = mine.model_dump(exclude_unset=True) if mine is not None else {}
            servers[name] = given.model_copy(update=settings).defined_by("editor")
    return {name: one for name, one in servers.items() if one.enabled and one.is_defined}


def load_rules(path: Path) -> list[RuleConfig]:
    """The rules in a file that is written like `config.toml`; none if it is not there.

    Raises UsageError that names the line.
    """
    if not path.exists():
        return []
    text, data = read_toml(path)
    return _validate(data, path, text).policy.rules


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
    servers = data.get("mcp")
    if isinstance(servers, Mapping) and len(servers) > MOST_SERVERS:
        raise UsageError(f"{path} names more than {MOST_SERVERS} MCP servers")
    for name, server in servers.items() if isinstance(servers, Mapping) else ():
        for key in MCP_OWN if isinstance(server, Mapping) else ():
            if key in server:
                raise UsageError(
                    f"{_at(path, key_line(text, ['mcp', name, key]))}: a project may not set "
                    f"`mcp.{name}.{key}`",
                    hint=f"Set it in {config_dir() / 'config.toml'} if you want it.",
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
    here[1:2] = ["NAME"] if here[:1] == ["providers"] else here[1:2]
    sections = {"": Config.model_fields, **_sections()}
    for section, fields in sections.items():
        if name in fields:
            return (
                f"It belongs in [{section}]."
                if section
                else "It belongs above the first [section]."
            )
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
        "mcp.NAME": McpServerConfig.model_fields,
        "providers.NAME.dialect": DialectConfig.model_fields,
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
