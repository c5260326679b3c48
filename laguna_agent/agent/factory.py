"""Makes the services and the state of a session: sandbox, gate, tools, limits, instructions."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from laguna_agent.actions import ReadPath, Verdict
from laguna_agent.agent.approval import Approver
from laguna_agent.agent.context.first_message import directory_text, git_state, today
from laguna_agent.agent.hooks import Hooks, unknown_tools
from laguna_agent.agent.instructions import Instructions
from laguna_agent.agent.kept_settings import settings_to_keep
from laguna_agent.agent.mcp_setup import (
    make_mcp_servers,
    mcp_declarations,
    unapproved_notice,
)
from laguna_agent.agent.model_loading import LoadedModel, recommended_sampling
from laguna_agent.agent.recorder import Recorder
from laguna_agent.agent.repository_watch import RepositoryWatch
from laguna_agent.agent.services import Services, TurnLimits
from laguna_agent.agent.settings import Settings
from laguna_agent.agent.skills import Skill, find_skills, list_skills, reading_skills
from laguna_agent.agent.state import SessionState
from laguna_agent.atomic_write import atomic_write
from laguna_agent.config import Config, RuleConfig
from laguna_agent.errors import LagunaError
from laguna_agent.events import Notice
from laguna_agent.models.conversation import ModelInfo, Sampling
from laguna_agent.paths import (
    config_dir,
    make_private,
    passed_over,
    repository_state_dir,
    state_dir,
)
from laguna_agent.plurals import counted
from laguna_agent.policy import trust
from laguna_agent.policy.environment import Inheritance, held_back
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.permissions import repository_rules
from laguna_agent.policy.sandbox import SandboxKind, make_sandbox
from laguna_agent.prompts.loader.pack import PackTool
from laguna_agent.prompts.loader.templates import StaticVariables
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from laguna_agent.tools.mcp.servers import McpServers
from laguna_agent.tools.registry import BUILT_IN, builtin_tools
from laguna_agent.tools.tool import ToolContext


def make_services(
    settings: Settings,
    root: Path,
    model: LoadedModel,
    recorder: Recorder,
    approver: Approver | None = None,
) -> tuple[Services, list[Notice]]:
    """The services of a session in the repository `root`, and notices for its start."""
    config, pack, trajectory = settings.config, model.pack, recorder.trajectory
    state_dir = repository_state_dir(root)
    cwd = settings.cwd.resolve()
    inheritance = Inheritance.of(config)
    gate, sandbox, notices = make_gate(
        settings, root, trajectory.directory, state_dir, recorder.state.rules
    )
    outer = passed_over(settings.cwd)
    if outer is not None:
        text = f"The repository in {outer} holds your home, so laguna works in {root} alone."
        notices.append(Notice(text=text))
    content = _trusted_content(settings, root, notices)
    instructions = Instructions(
        root=root,
        cwd=cwd,
        limit=pack.limits.instructions_chars,
        user=config_dir(),
        trusted=settings.trusted and content is not None,
        accepts=content.covers if content is not None else lambda path: False,
    )
    skills, unusable = find_skills(
        [*([root / ".laguna" / "skills"] if instructions.trusted else []), config_dir() / "skills"],
        lambda path: not path.is_relative_to(root / ".laguna") or instructions.accepts(path),
    )
    notices += unusable
    notices += unknown_tools(config.hooks, {*builtin_tools(), *pack.tool_files})
    thinking = bool(pack.thinking if config.thinking is None else config.thinking)
    servers = make_mcp_servers(settings, root, sandbox, lambda: gate.mode != "allow-all")
    tools, unapproved = _make_tools(config, model, skills, servers, thinking=thinking)
    notices += unapproved_notice(unapproved)
    tool_context = ToolContext(
        workspace=root,
        directory=None if cwd == root else cwd,
        state_dir=trajectory.outputs,
        sandbox=sandbox,
        max_output_chars=pack.limits.result_chars,
        protected=sandbox.protected,
        cache_dir=state_dir,
        may_read=lambda path: gate.decide(ReadPath(path=path), tool="search").verdict == "allow",
        may_name=lambda path: gate.decide(ReadPath(path=path), tool="search").verdict != "deny",
        state={"git.trusted": settings.trusted},
        resources=[servers] if servers is not None else [],
    )
    services = Services(
        conversation=model.conversation,
        pack=pack,
        tools=tools,
        tool_context=tool_context,
        gate=gate,
        watch=RepositoryWatch(gate, tool_context),
        recorder=recorder,
        checkpoints=Checkpoints(root, state_dir),
        instructions=instructions,
        skills=skills,
        hooks=Hooks(
            config.hooks,
            cwd=root,
            session=trajectory.id,
            sandbox=sandbox,
            trusted=content.digests if content and settings.trusted else {},
            inheritance=inheritance,
        ),
        sampling=make_sampling(config, model),
        limits=TurnLimits(
            steps=config.limits.steps or pack.limits.steps,
            tokens=config.limits.tokens,
            timeout=config.limits.timeout,
            reply_tokens=pack.limits.reply_tokens,
        ),
        settings=settings_to_keep(settings, model.info, directory_text(tool_context)),
        approver=approver,
        thinking=thinking,
        logprobs=config.trajectory.logprobs,
        keys=inheritance.key_values(os.environ),
        mcp=servers,
    )
    notices += _held_back(inheritance)
    return services, notices


def _reading(gate: Gate, path: str) -> Verdict:
    return gate.decide(ReadPath(path=path), tool="search").verdict


def make_state(settings: Settings, services: Services) -> SessionState:
    """The state of a session before its first turn."""
    variables = {
        "date": today(),
        "cwd": directory_text(services.tool_context),
        "git": git_state(services.tool_context.workspace),
        "instructions": services.instructions.for_first_message(),
    }
    if "read" in services.tools:
        variables["skills"] = list_skills(services.skills)
    return SessionState(variables, planning=services.starts_in_plan_mode, check=settings.check)


def make_gate(
    settings: Settings,
    root: Path,
    session_dir: Path,
    state_dir: Path,
    session_rules: Sequence[RuleConfig],
) -> tuple[Gate, SandboxKind, list[Notice]]:
    """The policy and the sandbox; a notice where there is no sandbox."""
    config = settings.config
    network = config.policy.network and not config.offline
    gate = Gate(
        mode=settings.mode,
        plan=settings.plan,
        workspace=root,
        rules=config.policy.rules,
        sandboxed=False,
        network=network,
        trusted=settings.trusted,
        state_dirs=[session_dir],
        offline=config.offline,
        repository_rules=repository_rules(root),
        session_rules=session_rules,
    )
    hidden, read_only = gate.denied_paths()
    choice = make_sandbox(
        workspace=root,
        enabled=config.policy.sandbox,
        network=network,
        writable=[
            *(Path(path).expanduser() for path in config.policy.writable),
            *gate.writable_paths(),
        ],
        state_dir=state_dir,
        hidden=hidden,
        read_only=read_only,
        inheritance=Inheritance.of(config),
        secrets=gate.hidden_secrets,
    )
    if choice.repositories is not None:
        gate.confine(choice.repositories)
    notices: list[Notice] = []
    if session_rules:
        text = f"This session keeps {counted(len(session_rules), 'rule')} of earlier answers; "
        notices.append(Notice(text=f"{text}/permissions lists them."))
    if choice.confined and (secrets_hidden := gate.hidden_secrets()):
        names = ", ".join(os.path.relpath(path, root) for path in secrets_hidden[:4])
        more = f" and {len(secrets_hidden) - 4} more" if len(secrets_hidden) > 4 else ""
        text = f"Commands see these files empty, as they may hold secrets: {names}{more}. A rule "
        text += "that allows reading the path shows one."
        notices.append(Notice(text=text))
    if not gate.sandboxed and config.policy.sandbox:
        notices.append(Notice(level="warning", text=f"No sandbox here: {choice.reason}"))
    return gate, choice.sandbox, notices


def _held_back(inheritance: Inheritance) -> list[Notice]:
    """A notice of variables that commands do not get, once for each of them."""
    told = state_dir() / "held-back.txt"
    try:
        known = set(told.read_text(encoding="utf-8").split())
    except OSError:
        known = set()
    new = [name for name in held_back(inheritance) if name not in known]
    if not new:
        return []
    with contextlib.suppress(OSError):
        make_private(told.parent)
        atomic_write(told, "\n".join(sorted(known.union(new))) + "\n")
    text = f"Not passed to commands, as they look like secrets or run programs: {', '.join(new)}."
    how = f'`pass = ["{new[0]}"]` under [policy.environment] in config.toml passes one.'
    return [Notice(level="info", text=f"{text} {how}")]


def _make_tools(
    config: Config,
    model: LoadedModel,
    skills: list[Skill],
    servers: McpServers | None,
    *,
    thinking: bool,
) -> tuple[dict[str, PackTool], list[str]]:
    """The tools that the pack declares and those of MCP servers, by name; and which tools of
    servers cannot be declared yet."""
    builtin = builtin_tools()
    if not config.memory.enabled:
        builtin.pop("recall", None)
    builtin["read"] = reading_skills(builtin["read"], skills)
    variables = static_variables(model.info, model.pack.tool_names(builtin), thinking=thinking)
    declared = model.pack.tools(builtin, variables)
    plans = any(layer.pack == "plan" for layer in model.pack.stack.layers)
    if servers is None or plans:
        return {tool.name: tool for tool in declared}, []
    more, unapproved = mcp_declarations(
        servers,
        {*BUILT_IN, *(tool.name for tool in declared)},
        model.pack.limits.result_chars,
        optional=model.info.format != "fenced",
    )
    # `done` comes last.
    end = next((n for n, tool in enumerate(declared) if tool.name == "done"), len(declared))
    declared[end:end] = more
    return {tool.name: tool for tool in declared}, unapproved


def static_variables(info: ModelInfo, tools: Iterable[str], *, thinking: bool) -> StaticVariables:
    """The variables of the static prefix. `tools` are the names of the declared tools."""
    return StaticVariables(
        model=info.name, format=info.format, tools=tuple(tools), thinking=thinking
    )


def make_sampling(config: Config, model: LoadedModel) -> Sampling:
    """The sampling: the makers' recommendation, overridden by the pack, overridden by the user."""
    values: dict[str, Any] = {**recommended_sampling(model.info), **model.pack.sampling}
    values |= {k: v for k, v in config.sampling.model_dump().items() if v is not None}
    if values.get("seed") is None:
        values["seed"] = 0 if values.get("temperature") == 0 else secrets.randbelow(2**31)
    return Sampling(**values)


def _trusted_content(settings: Settings, root: Path, notices: list[Notice]) -> trust.Content | None:
    """The repository's configuration and what trust covers; adds a notice for files it may not
    read."""
    try:
        content = trust.content(root)
    except LagunaError as error:
        notices.append(Notice(level="warning", text=f"Not read: {error}"))
        return None
    if not settings.trusted and not content.empty:
        names = ", ".join(content.files[:3]) + (" ..." if len(content.files) > 3 else "")
        why = "It changed since it was trusted" if trust.was_trusted(root) else "Not trusted"
        how = "`laguna trust` shows and trusts it; `--trust` reads it for one run"
        text = f"{why}, so not read: {names}. {how}."
        notices.append(Notice(level="warning", text=text))
    return content
