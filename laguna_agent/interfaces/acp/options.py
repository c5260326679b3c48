"""What an editor can set in a session: mode, model and thinking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from acp import schema

from laguna_agent.actions import Mode
from laguna_agent.byte_sizes import gigabytes
from laguna_agent.config import Config, McpServerConfig
from laguna_agent.errors import UsageError
from laguna_agent.log import logger
from laguna_agent.mcp_json import MOST_SERVERS

ConfigOption = schema.SessionConfigOptionSelect | schema.SessionConfigOptionBoolean
PLAN = "plan"
_MODES = {
    "ask": ("Ask", "Every side effect asks"),
    "accept-edits": ("Accept edits", "Edits of files in the workspace pass, the rest asks"),
    "auto": ("Auto", "What the sandbox contains passes, the rest asks"),
    "allow-all": ("Allow all", "Everything passes that no rule denies"),
    PLAN: ("Plan", "Nothing is changed"),
}
_THINKING = {"default": None, "on": True, "off": False}


def mode_state(mode: Mode, *, plan: bool) -> schema.SessionModeState:
    """The modes, and the present one."""
    return schema.SessionModeState(
        current_mode_id=PLAN if plan else mode,
        available_modes=[
            schema.SessionMode(id=name, name=title, description=about)
            for name, (title, about) in _MODES.items()
        ],
    )


def mode_of(mode_id: str) -> Mode | None:
    """The mode of that id; None if there is none, or it is planning."""
    return cast(Mode, mode_id) if mode_id in get_args(Mode) else None


def config_options(config: Config, mode: Mode, *, plan: bool) -> list[ConfigOption]:
    """The options with their present values."""
    current = current_model(config)
    models = _models(config)
    if current not in models:
        models = {current: "", **models}
    thinking = next(name for name, value in _THINKING.items() if value == config.thinking)
    options: list[ConfigOption] = [
        _select("mode", "Mode", "mode", PLAN if plan else mode, _MODES),
        _select("thinking", "Thinking", "thought_level", thinking, {
            "default": ("Default", "As the prompt pack says"),
            "on": ("On", "Think before answering, where the model can"),
            "off": ("Off", "Answer at once"),
        }),
    ]  # fmt: skip
    if current:
        about = {name: (name, text) for name, text in models.items()}
        options.insert(1, _select("model", "Model", "model", current, about))
    return options


def _select(
    key: str, name: str, category: Any, current: str, values: Mapping[str, tuple[str, str]]
) -> schema.SessionConfigOptionSelect:
    return schema.SessionConfigOptionSelect(
        type="select",
        id=key,
        name=name,
        category=category,
        current_value=current,
        options=[
            schema.SessionConfigSelectOption(value=value, name=title, description=about or None)
            for value, (title, about) in values.items()
        ],
    )


def current_model(config: Config) -> str:
    """The model that a session would use, as a person names it; empty when there is none."""
    from laguna_agent.models.store import Store

    if config.model:
        return config.model
    store = Store()
    return store.default or store.preferred() or ""


def _models(config: Config) -> dict[str, str]:
    """The models that can be chosen, each with a few words about it. Servers are not asked: of them
    it is what they served when they were asked last."""
    from laguna_agent.models.servers.lessons import served_models
    from laguna_agent.models.servers.providers import provider_of
    from laguna_agent.models.store import Store

    store = Store()
    found = {one.name: gigabytes(one.size) for one in store.installed() if one.present}
    for name in (config.model, store.default):
        provider = provider_of(name or "", config.providers)
        if name and provider is not None:
            found.setdefault(name, f"on {provider[0]}")
    for name, settings in config.providers.items():
        for model in served_models(name, settings.url):
            found.setdefault(f"{name}/{model}", f"on {name}")
    return found


def changed(config: Config, key: str, value: str) -> Config | None:
    """The configuration with another model or thinking; None if there is no such value."""
    if key == "thinking" and value in _THINKING:
        return config.model_copy(update={"thinking": _THINKING[value]})
    if key == "model" and value in {current_model(config), *_models(config)}:
        return config.model_copy(update={"model": value})
    return None


def mcp_servers(
    given: Sequence[schema.McpServerStdio | schema.HttpMcpServer | object],
) -> dict[str, McpServerConfig]:
    """The MCP servers that an editor hands over, but for kinds that laguna does not speak.

    Raises UsageError for more than a project may name."""
    if len(given) > MOST_SERVERS:
        raise UsageError(f"the editor names more than {MOST_SERVERS} MCP servers")
    servers: dict[str, McpServerConfig] = {}
    for one in given:
        try:
            match one:
                case schema.McpServerStdio():
                    env = {variable.name: variable.value for variable in one.env}
                    servers[one.name] = McpServerConfig(command=one.command, args=one.args, env=env)
                case schema.HttpMcpServer():
                    headers = {header.name: header.value for header in one.headers}
                    servers[one.name] = McpServerConfig(url=str(one.url), headers=headers)
                case _:
                    logger.warning("an MCP server of an unknown kind is left out")
        except ValueError:
            logger.warning("an MCP server that cannot be used is left out")
    return servers
