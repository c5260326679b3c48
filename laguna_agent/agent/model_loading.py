"""Loads the model of a session: a local file or a provider's, with its pack and chat format."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from laguna_agent.agent.recorder import OnEvent
from laguna_agent.config import Config
from laguna_agent.errors import ModelError
from laguna_agent.events import ModelLoading
from laguna_agent.models.conversation import Conversation, ModelInfo
from laguna_agent.paths import config_dir
from laguna_agent.prompts.loader.pack import Pack, load_pack

if TYPE_CHECKING:
    from laguna_agent.models.store import ResolvedModel


@dataclass
class LoadedModel:
    """A model that is ready, and the pack for it."""

    conversation: Conversation
    info: ModelInfo
    pack: Pack


class LoadModel(Protocol):
    """Loads the model that `config` names and chooses its pack, as `load_model` does."""

    async def __call__(
        self,
        config: Config,
        *,
        root: Path,
        session: str,
        trusted: bool,
        plan: bool,
        on_event: OnEvent | None = None,
    ) -> LoadedModel:
        """Load it; `on_event` sees ModelLoading and EngineRestarted. Raises LagunaError."""


def pack_directories(root: Path, *, trusted: bool) -> list[Path]:
    """Directories with packs that override the built-in ones, nearest first."""
    own = [config_dir() / "prompts"]
    return [root / ".laguna" / "prompts", *own] if trusted else own


async def load_model(
    config: Config,
    *,
    root: Path,
    session: str,
    trusted: bool,
    plan: bool,
    on_event: OnEvent | None = None,
) -> LoadedModel:
    """Load the model that `config` names and choose its pack. Raises LagunaError."""
    directories = pack_directories(root, trusted=trusted)
    pack_name = config.pack or ("plan" if plan else None)
    from laguna_agent.models.servers.providers import provider_of
    from laguna_agent.models.store import Store

    wanted = config.model or Store().default or ""

    if provider_of(wanted, config.providers) is not None:
        return await _remote(config, wanted, pack_name, directories)
    return await _local(config, pack_name, directories, session, on_event)


async def _remote(
    config: Config, wanted: str, pack_name: str | None, directories: list[Path]
) -> LoadedModel:
    from laguna_agent.models.chat.fenced import FencedFormat
    from laguna_agent.models.servers.providers import open_provider

    conversation = await open_provider(wanted, config)
    pack = load_pack(
        pack_name,
        model_name=conversation.info.name,
        parameters=conversation.info.parameters,
        directories=directories,
    )
    if pack.chat_format == FencedFormat.name:  # the others are the server's own affair
        conversation.write_calls_as(FencedFormat())
    return LoadedModel(conversation, conversation.info, pack)


async def _local(
    config: Config,
    pack_name: str | None,
    directories: list[Path],
    session: str,
    on_event: OnEvent | None,
) -> LoadedModel:
    from laguna_agent.models.chat import format_for
    from laguna_agent.models.engine.client import open_engine
    from laguna_agent.models.local_conversation import LocalConversation
    from laguna_agent.models.sizing.fit import choose_context

    model = await _resolve(config, on_event)
    pack = load_pack(
        pack_name,
        model_name=model.name,
        parameters=model.header.parameters,
        directories=directories,
    )
    context = choose_context(model.header, config.engine)
    settings = config.engine.model_copy(update={"context": context})
    engine = await open_engine(model.path, config=settings, sha256=model.sha256, on_event=on_event)
    loaded = engine.model
    template = loaded.template
    bos, eos = [await engine.detokenize([t]) if t >= 0 else "" for t in (loaded.bos, loaded.eos)]
    form = format_for(
        pack.chat_format,
        architecture=loaded.architecture,
        template=template,
        model_name=model.name,
        thinking=pack.thinking if config.thinking is None else config.thinking,
        bos=bos,
        eos=eos,
    )
    info = ModelInfo(
        name=model.name,
        sha256=model.sha256,
        format=form.name,
        architecture=loaded.architecture,
        quantization=loaded.quantization,
        parameters=loaded.parameters,
        size_bytes=loaded.size_bytes,
        context=loaded.context,
        template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else None,
        engine=loaded.build,
    )
    return LoadedModel(LocalConversation(engine, form, info, session), info, pack)


async def _resolve(config: Config, on_event: OnEvent | None) -> ResolvedModel:
    """Find the model's file; its first use reads all of it for the digest, until cancelled."""
    from laguna_agent.models.store import resolve

    loop, stopped = asyncio.get_running_loop(), threading.Event()

    def progress(done: int, total: int) -> None:
        if stopped.is_set():
            raise ModelError("loading was stopped")
        if on_event is not None:
            loop.call_soon_threadsafe(on_event, ModelLoading(done=done, total=total))

    try:
        return await asyncio.to_thread(resolve, None, config, on_progress=progress)
    finally:
        stopped.set()


def recommended_sampling(info: ModelInfo) -> dict[str, Any]:
    """The sampling that the model's makers recommend, from the catalogue."""
    from laguna_agent.models.catalogue import load_catalogue

    known = load_catalogue().by_digest(info.sha256) if info.sha256 else None
    return known.entry.sampling.model_dump(exclude_none=True) if known else {}
