"""Puts an agent together: sandbox, gate, tools, limits and what the first message says."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from laguna_agent.actions import ReadPath
from laguna_agent.agent.context.first_message import git_state, today
from laguna_agent.agent.context.instructions import Instructions
from laguna_agent.agent.hooks import Hooks
from laguna_agent.agent.model_loading import LoadedModel, recommended_sampling
from laguna_agent.agent.settings import Settings
from laguna_agent.agent.skills import find_skills, list_skills, reading_skills
from laguna_agent.agent.state import Agent, TurnLimits
from laguna_agent.config import Config
from laguna_agent.errors import LagunaError
from laguna_agent.events import Notice
from laguna_agent.models.conversation import ModelInfo, Sampling
from laguna_agent.paths import config_dir, repository_state_dir
from laguna_agent.policy import trust
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.sandbox import make_sandbox
from laguna_agent.prompts.loader.templates import StaticVariables
from laguna_agent.tools.checkpoints.checkpoints import Checkpoints
from laguna_agent.tools.registry import builtin_tools
from laguna_agent.tools.tool import ToolContext
from laguna_agent.trajectory.store import Trajectory


def make_agent(
    settings: Settings, root: Path, trajectory: Trajectory, model: LoadedModel
) -> tuple[Agent, list[Notice]]:
    """The agent of a session, and what should be said before its first turn."""
    config, pack = settings.config, model.pack
    notices: list[Notice] = []
    state = repository_state_dir(root)
    network = config.policy.network and not config.offline
    gate = Gate(
        mode=settings.mode,
        plan=settings.plan,
        workspace=root,
        rules=config.policy.rules,
        sandboxed=False,
        network=network,
        trusted=settings.trusted,
        interactive=settings.interactive,
        state_dirs=[trajectory.directory],
        offline=config.offline,
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
        state_dir=state,
        hidden=hidden,
        read_only=read_only,
    )
    gate.sandboxed = choice.sandbox.name != "none"
    if not gate.sandboxed and config.policy.sandbox:
        notices.append(Notice(level="warning", text=f"No sandbox here: {choice.reason}"))
    covered = _covered(settings, root, notices)
    instructions = Instructions(
        root=root,
        cwd=settings.cwd,
        limit=pack.limits.instructions_chars,
        user=config_dir(),
        trusted=settings.trusted and covered is not None,
        accepts=covered.covers if covered is not None else lambda path: False,
    )
    skills, unusable = find_skills(
        [*([root / ".laguna" / "skills"] if instructions.trusted else []), config_dir() / "skills"],
        lambda path: not path.is_relative_to(root / ".laguna") or instructions.accepts(path),
    )
    notices += unusable
    thinking = bool(pack.thinking if config.thinking is None else config.thinking)
    agent = Agent(
        conversation=model.conversation,
        tools={},
        gate=gate,
        context=ToolContext(
            workspace=root,
            state_dir=trajectory.outputs,
            sandbox=choice.sandbox,
            max_output_chars=pack.limits.result_chars,
            cache_dir=state / "cache",
            may_read=lambda path: gate.decide(ReadPath(path=path), tool="search").verdict != "deny",
            state={"git.trusted": settings.trusted},
        ),
        pack=pack,
        sampling=make_sampling(config, model),
        limits=TurnLimits(
            steps=config.limits.steps or pack.limits.steps,
            tokens=config.limits.tokens,
            timeout=config.limits.timeout,
            reply_tokens=pack.limits.reply_tokens,
        ),
        hooks=Hooks(config.hooks, cwd=root, session=trajectory.id) if config.hooks else None,
        thinking=thinking,
        logprobs=config.trajectory.logprobs,
        check_known=settings.check,
        checkpoints=Checkpoints(root, state),
        instructions=instructions,
        opening=_opening(settings, root, instructions),
        skills=skills,
    )
    notices += instructions.notices
    builtin = builtin_tools()
    if not config.memory.enabled:
        builtin.pop("recall", None)
    builtin["read"] = reading_skills(builtin["read"], skills)
    variables = static_variables(model.info, pack.tool_names(builtin), thinking=thinking)
    agent.tools = {tool.name: tool for tool in pack.tools(builtin, variables)}
    if "read" in agent.tools:
        agent.opening["skills"] = list_skills(skills)
    return agent, notices


def static_variables(info: ModelInfo, tools: Iterable[str], *, thinking: bool) -> StaticVariables:
    """What the static prefix may say. `tools` are the names of those that are declared."""
    return StaticVariables(
        model=info.name, format=info.format, tools=tuple(tools), thinking=thinking
    )


def make_sampling(config: Config, model: LoadedModel) -> Sampling:
    """What the makers recommend, under what the pack sets, under what the user sets."""
    values: dict[str, Any] = {**recommended_sampling(model.info), **model.pack.sampling}
    values |= {k: v for k, v in config.sampling.model_dump().items() if v is not None}
    if values.get("seed") is None:
        values["seed"] = 0 if values.get("temperature") == 0 else secrets.randbelow(2**31)
    return Sampling(**values)


def _covered(settings: Settings, root: Path, notices: list[Notice]) -> trust.Content | None:
    """What the repository brings along and trust covers; what is not read is said."""
    try:
        covered = trust.content(root)
    except LagunaError as error:
        notices.append(Notice(level="warning", text=f"Not read: {error}"))
        return None
    if not settings.trusted and not covered.empty:
        names = ", ".join(covered.files[:3]) + (" ..." if len(covered.files) > 3 else "")
        why = "It changed since it was trusted" if trust.was_trusted(root) else "Not trusted"
        how = "`laguna trust` shows and trusts it, --trust reads it for one run"
        text = f"{why}, so not read: {names}. {how}."
        notices.append(Notice(level="warning", text=text))
    return covered


def _opening(settings: Settings, root: Path, instructions: Instructions) -> dict[str, str]:
    """The dynamic variables of the first message."""
    return {
        "date": today(),
        "cwd": str(settings.cwd),
        "git": git_state(root),
        "instructions": instructions.opening(),
    }
