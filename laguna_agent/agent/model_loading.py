"""Finds and loads what a session thinks with: a local model or a provider, its pack, its format."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from laguna_agent.config import Config
from laguna_agent.errors import ModelError
from laguna_agent.events import ModelLoading
from laguna_agent.models.conversation import Conversation, ModelInfo
from laguna_agent.paths import config_dir
from laguna_agent.prompts.loader.pack import Pack, load_pack

if TYPE_CHECKING:
    from laguna_agent.models.store import ResolvedModel

OnLoading = Callable[[Any], None]
"""Takes ModelLoading and EngineRestarted events while a model loads."""


@dataclass
class LoadedModel:
    """A model that is ready, and the pack that it is spoken to with."""

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
        on_loading: OnLoading | None = None,
    ) -> LoadedModel:
        """Raises LagunaError."""


def pack_directories(root: Path, *, trusted: bool) -> list[Path]:
    """Where packs are looked for before the built-in ones, nearest first."""
    own = [config_dir() / "prompts"]
    return [root / ".laguna" / "prompts", *own] if trusted else own


async def load_model(
    config: Config,
    *,
    root: Path,
    session: str,
    trusted: bool,
    plan: bool,
    on_loading: OnLoading | None = None,
) -> LoadedModel:
    """Load the model that `config` names and choose its pack. Raises LagunaError."""
    directories = pack_directories(root, trusted=trusted)
    pack_name = config.pack or ("plan" if plan else None)
    wanted = config.model or ""
    from laguna_agent.models.servers.providers import provider_of

    if provider_of(wanted, config.providers) is not None:
        return await _remote(config, wanted, pack_name, directories)
    return await _local(config, pack_name, directories, session, on_loading)


async def _remote(
    config: Config, wanted: str, pack_name: str | None, directories: list[Path]
) -> LoadedModel:
    from laguna_agent.models.servers.providers import open_provider

    conversation = await open_provider(wanted, config)
    pack = load_pack(pack_name, model_name=conversation.info.name, directories=directories)
    return LoadedModel(conversation, conversation.info, pack)


async def _local(
    config: Config,
    pack_name: str | None,
    directories: list[Path],
    session: str,
    on_loading: OnLoading | None,
) -> LoadedModel:
    from laguna_agent.models.chat import format_for
    from laguna_agent.models.engine.client import open_engine
    from laguna_agent.models.local_conversation import LocalConversation
    from laguna_agent.models.sizing.fit import choose_context

    model = await _resolve(config, on_loading)
    pack = load_pack(pack_name, model_name=model.name, directories=directories)
    context = choose_context(model.header, config.engine)
    settings = config.engine.model_copy(update={"context": context})
    engine = await open_engine(
        model.path, config=settings, sha256=model.sha256, on_event=on_loading
    )
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


async def _resolve(config: Config, on_loading: OnLoading | None) -> ResolvedModel:
    """Find the model's file. Its digest is computed at the first use, which reads all of it; that
    ends when this is cancelled."""
    from laguna_agent.models.store import resolve

    loop, stopped = asyncio.get_running_loop(), threading.Event()

    def progress(done: int, total: int) -> None:
        if stopped.is_set():
            raise ModelError("loading was stopped")
        if on_loading is not None:
            loop.call_soon_threadsafe(on_loading, ModelLoading(done=done, total=total))

    try:
        return await asyncio.to_thread(resolve, None, config, on_progress=progress)
    finally:
        stopped.set()


def recommended_sampling(info: ModelInfo) -> dict[str, Any]:
    """Sampling that the model's makers recommend, as the catalogue knows it."""
    from laguna_agent.models.catalogue import load_catalogue

    known = load_catalogue().by_digest(info.sha256) if info.sha256 else None
    sampling = getattr(known.entry, "sampling", None) if known else None
    return dict(sampling.model_dump(exclude_none=True)) if sampling is not None else {}
