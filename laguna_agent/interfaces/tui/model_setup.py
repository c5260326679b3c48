"""Chooses the model and gets it: downloads it, imports a file, or adds a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from laguna_agent.byte_sizes import gigabytes
from laguna_agent.errors import ModelError
from laguna_agent.interfaces.tui.screens import model_picker
from laguna_agent.interfaces.tui.screens.dialogs import Question

if TYPE_CHECKING:
    from textual.app import App

    from laguna_agent.config import Config
    from laguna_agent.interfaces.tui.agent_thread import AgentThread
    from laguna_agent.interfaces.tui.conversation_commands import ConversationCommands
    from laguna_agent.interfaces.tui.transcript.transcript_model import TranscriptModel
    from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine
    from laguna_agent.interfaces.tui.widgets.status_line import StatusLine
    from laguna_agent.models.fetch.partial_download import DownloadProgress


class ModelSetup:
    """Asks for a model, gets it, and opens the conversation with it."""

    def __init__(
        self,
        app: App[Any],
        agent: AgentThread,
        transcript_model: TranscriptModel,
        activity: ActivityLine,
        status: StatusLine,
        conversation: ConversationCommands,
    ) -> None:
        self._app = app
        self._agent = agent
        self._transcript_model = transcript_model
        self._activity = activity
        self._status = status
        self._conversation = conversation
        self._stop_transfer: Callable[[], None] | None = None

    async def choose(self) -> None:
        """Let the user pick a model, and use it."""
        self._status.flash("checking which models fit this machine…", 10)
        picker = await asyncio.to_thread(model_picker.model_picker, self._config)
        self._status.flash("")
        if chosen := await self._app.push_screen_wait(picker):
            await self.use(chosen)

    async def first_run(self, error: ModelError) -> None:
        """Report that no model could be loaded; if none is installed, let the user pick one."""
        from laguna_agent.models.store import Store

        if await asyncio.to_thread(lambda: Store().installed()):
            self._transcript_model.add_notice(f"{error}\n/model chooses another model", "error")
            return
        memory = await asyncio.to_thread(model_picker.available_memory)
        picker, advice = model_picker.first_run_picker(memory)
        self._transcript_model.add_notice(f"no model yet; {advice}")
        if chosen := await self._app.push_screen_wait(picker):
            await self.use(chosen)

    async def use(self, name: str) -> None:
        """Use the model `name`, or a picker's answer; download it first if needed."""
        from laguna_agent.models.servers.providers import provider_of
        from laguna_agent.models.store import Store, is_path

        if name == model_picker.SERVER:
            await self._add_server()
            return
        if name == model_picker.FILE:
            if path := await self._ask("Path of a GGUF file"):
                await self._import_file(path)
            return
        config = self._config
        if name.endswith("/") and name[:-1] in config.providers:
            model = await self._ask(f"Name of the model at {name[:-1]}")
            if not model:
                return
            name += model
        remote = provider_of(name, config.providers) is not None
        if not remote and not is_path(name):
            found = await asyncio.to_thread(Store().find, name)
            if found is None or not found.present:
                name = await self._download(name, offline=config.offline)
            else:
                name = found.name
        if not remote:
            await asyncio.to_thread(_make_default, name)
        self._reopen(model=name)

    def stop_transfer(self) -> bool:
        """Stop the download or import; False if none runs."""
        if self._stop_transfer is None:
            return False
        self._stop_transfer()
        return True

    @property
    def _config(self) -> Config:
        from laguna_agent.config import load_config

        settings = self._agent.settings
        return settings.config if settings is not None else load_config()

    async def _ask(self, title: str, value: str = "") -> str | None:
        return await self._app.push_screen_wait(Question(title, value=value))

    def _reopen(self, **changes: Any) -> None:
        """Open the conversation again, or a new one if it is empty, with `changes` in the
        configuration."""
        session = self._agent.session
        resume = None
        if session is not None and session.conversation_state.user_messages:
            resume = session.trajectory.id
        config = self._config.model_copy(update=changes)
        settings = self._agent.settings
        given = (settings.given if settings is not None else frozenset()) | {"model"}
        self._conversation.reopen("loading the model", config=config, resume=resume, given=given)

    @contextmanager
    def _transfer(self, what: str) -> Iterator[threading.Event]:
        """Show a transfer that runs in a thread; the event is set when the user stops it."""
        stopped = threading.Event()
        self._activity.begin(what)
        self._stop_transfer = stopped.set
        try:
            yield stopped
        finally:
            self._stop_transfer = None
            self._activity.end()

    async def _download(self, name: str, *, offline: bool) -> str:
        from laguna_agent.interfaces.transfer_progress import describe
        from laguna_agent.models.fetch.acquire import pull
        from laguna_agent.models.store import Store

        loop, what = asyncio.get_running_loop(), f"downloading {name}"

        def progress(at: DownloadProgress) -> None:
            if stopped.is_set():
                raise ModelError(
                    "the download was stopped",
                    hint="What arrived is kept; the next download continues from there.",
                )
            share = at.done / at.total if at.total else None
            detail = describe(at).partition("  ")[2]
            loop.call_soon_threadsafe(self._activity.report, what, detail, share)

        def notice(text: str) -> None:
            loop.call_soon_threadsafe(self._transcript_model.add_notice, text)

        with self._transfer(what) as stopped:
            model = await asyncio.to_thread(
                pull, name, Store(), offline=offline, on_progress=progress, on_notice=notice
            )
        self._transcript_model.add_notice(f"installed {model.name}: {model.path}")
        return model.name

    async def _import_file(self, path: str) -> None:
        from laguna_agent.models.fetch.acquire import import_file
        from laguna_agent.models.store import Store

        loop, what = asyncio.get_running_loop(), "importing the file"

        def progress(done: int, total: int) -> None:
            if stopped.is_set():
                raise ModelError("the import was stopped", hint="Nothing was changed.")
            detail = f"{gigabytes(done)} of {gigabytes(total)}"
            loop.call_soon_threadsafe(self._activity.report, what, detail, done / max(1, total))

        with self._transfer(what) as stopped:
            model = await asyncio.to_thread(import_file, path, Store(), on_progress=progress)
        await asyncio.to_thread(_make_default, model.name)
        self._reopen(model=model.name)

    async def _add_server(self) -> None:
        from laguna_agent.config import ProviderConfig
        from laguna_agent.config_file import edit_config
        from laguna_agent.paths import config_dir

        url = await self._ask("Address of the server", "http://127.0.0.1:8080/v1")
        if not url:
            return
        model = await self._ask("Name of the model on the server")
        if not model:
            return
        key = await self._ask("Environment variable with the API key (empty: none)")
        config = self._config
        name = "server"
        while name in config.providers and config.providers[name].url != url:
            name += "2"
        provider = ProviderConfig(url=url.strip(), key_env=(key or "").strip() or None)
        model = f"{name}/{model.strip()}"

        def add(tree: MutableMapping[str, Any]) -> None:
            tree.setdefault("model", model)
            tree.setdefault("providers", {}).setdefault(
                name, provider.model_dump(exclude_none=True, exclude_defaults=True)
            )

        path = config_dir() / "config.toml"
        edit_config(path, add)
        self._transcript_model.add_notice(f"added the server to {path}")
        providers = {**config.providers, name: provider}
        self._reopen(model=model, providers=providers)


def _make_default(name: str) -> None:
    from laguna_agent.models.store import Store

    store = Store()
    if store.find(name) is not None:
        store.set_default(name)
