"""What a session keeps whenever it goes on: its model, pack, thinking, sampling, check, plan mode.

They are recorded with each turn, and at the end where they changed since, and hold for the next
turn, also in another process, unless they are given anew. The mode and limits are not kept: they
are given for each run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from laguna_agent.agent.settings import Settings
from laguna_agent.config import Config
from laguna_agent.events import KeptSettings, Notice
from laguna_agent.models.conversation import ModelInfo

if TYPE_CHECKING:
    from laguna_agent.agent.services import Services
    from laguna_agent.agent.state import SessionState


def settings_to_keep(settings: Settings, info: ModelInfo, directory: str) -> KeptSettings:
    """The settings of a session as its record keeps them; `directory` as the model is told."""
    from laguna_agent.models.store import Store, is_path

    config = settings.config
    model, pack = config.model or "", config.pack or ""
    if not model and Store().find(info.name) is not None:
        model = info.name  # the default, which may be another one when the session goes on
    return KeptSettings(
        model=str(Path(model).expanduser().resolve()) if is_path(model) else model,
        pack=str(Path(pack).expanduser().resolve()) if "/" in pack else pack,
        thinking=config.thinking,
        sampling=config.sampling.model_dump(exclude_none=True),
        check=settings.check or "",
        plan=settings.plan,
        memory=config.memory.enabled,
        cwd=directory,
    )


def settings_now(services: Services, state: SessionState) -> KeptSettings:
    """The settings of a session, with the check and the plan mode that a person has set in it."""
    now = {"plan": services.gate.plan, "check": state.check or ""}
    return services.settings.model_copy(update=now)


def set_since(now: KeptSettings, recorded: KeptSettings, settings: Settings) -> KeptSettings:
    """The recorded settings of a session with what a person has set since; not with what this run
    has by itself, such as another model in the place of one that is no longer here."""
    names = {"model", "pack", "thinking"} & settings.given
    names |= {"check", "memory"} | ({"plan"} if settings.interactive else set())
    changes = {name: getattr(now, name) for name in names}
    chosen = {key: value for key, value in now.sampling.items() if key in settings.given}
    return recorded.model_copy(update={**changes, "sampling": {**recorded.sampling, **chosen}})


def with_kept(settings: Settings, kept: KeptSettings | None) -> tuple[Settings, list[Notice]]:
    """The settings with which a recorded session goes on, and notices of what it cannot keep.

    Plan mode is kept where a person can end it; `--task` plans only with `--plan`.
    """
    if kept is None:
        return settings, []
    config, given, notices = settings.config, settings.given, list[Notice]()
    memory = config.memory.model_copy(update={"enabled": config.memory.enabled and kept.memory})
    sampling = {key: value for key, value in kept.sampling.items() if key not in given}
    changes: dict[str, object] = {
        "memory": memory,
        "sampling": config.sampling.model_copy(update=sampling),
    }
    if kept.pack and "pack" not in given:
        changes["pack"] = kept.pack
    if kept.thinking is not None and "thinking" not in given:
        changes["thinking"] = kept.thinking
    if kept.model and "model" not in given:
        if _is_there(kept.model, config):
            changes["model"] = kept.model
        else:
            text = f"The model of this conversation, {kept.model}, is no longer here."
            notices.append(Notice(level="warning", text=text))
    planning = kept.plan and settings.interactive and "plan" not in given
    settings = replace(
        settings,
        config=config.model_copy(update=changes),
        plan=settings.plan or planning,
        check=kept.check if settings.check is None else settings.check,
    )
    return settings, notices


def _is_there(model: str, config: Config) -> bool:
    """Whether a model that was used once can be used now."""
    from laguna_agent.models.servers.providers import provider_of
    from laguna_agent.models.store import Store, is_path

    if provider_of(model, config.providers) is not None:
        return True
    if is_path(model):
        return Path(model).is_file()
    found = Store().find(model)
    return found is not None and found.present
