"""Chooses the model and gets it: downloads it, imports a file, or adds a server that answers."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.byte_sizes import gigabytes
from laguna_agent.errors import LagunaError, ModelError
from laguna_agent.interfaces.tui.screens import model_picker
from laguna_agent.interfaces.tui.screens.dialogs import Choice, Picker, Question
from laguna_agent.interfaces.tui.screens.server_dialog import (
    ServerDialog,
    TriedServer,
    import_client,
)
from laguna_agent.paths import config_dir, make_private

if TYPE_CHECKING:
    from textual.app import App

    from laguna_agent.config import Config, ProviderConfig
    from laguna_agent.interfaces.tui.agent_thread import AgentThread
    from laguna_agent.interfaces.tui.conversation_commands import ConversationCommands
    from laguna_agent.interfaces.tui.transcript.transcript_model import TranscriptModel
    from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine
    from laguna_agent.interfaces.tui.widgets.status_line import StatusLine
    from laguna_agent.models.fetch.partial_download import DownloadProgress
    from laguna_agent.models.servers.model_list import FoundServer


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
        self._chosen = ""
        """The model that was chosen and is being loaded."""
        self._advised = False
        """Whether the transcript says which model suits this machine."""

    async def choose(self, title: str = "Models") -> None:
        """Let the user pick a model, and use it. Servers are asked while the picker is open."""
        self._status.flash("checking which models fit this machine…", 10)
        config, in_use = self._config, self._in_use
        models = await asyncio.to_thread(model_picker.model_rows, config)
        self._status.flash("")

        def choices(served: Sequence[model_picker.ServedRow]) -> list[Choice]:
            listed = model_picker.model_choices(models, served, in_use)
            return [*listed, *model_picker.other_choices()]

        first = choices(model_picker.asked_rows(config, in_use))
        picker = model_picker.picker_of(first, title=title, in_use=in_use)
        asking = asyncio.ensure_future(self._ask_servers(config, picker, choices))
        try:
            chosen = await self._app.push_screen_wait(picker)
        finally:
            asking.cancel()
        if chosen:
            await self.use(chosen)

    async def _ask_servers(
        self,
        config: Config,
        picker: Picker,
        choices: Callable[[Sequence[model_picker.ServedRow]], list[Choice]],
    ) -> None:
        """Show what servers have, those of the configuration and those that run here."""
        from laguna_agent.models.servers.discovery import list_configured, provider_name

        await asyncio.to_thread(import_client)
        here = asyncio.ensure_future(find_servers())
        rows = model_picker.served_rows(await list_configured(config), self._in_use)
        picker.update_choices(choices(rows))
        known = config.providers
        found = [server for server in await here if provider_name(server, known) not in known]
        picker.update_choices(choices([*rows, *model_picker.found_rows(found)]))

    async def first_run(self, error: LagunaError) -> None:
        """Say why no model could be loaded, and let the user choose another one."""
        from laguna_agent.models.store import Store

        config = self._config
        installed = await asyncio.to_thread(Store().installed)
        if installed or config.model or config.providers:
            self._transcript_model.add_notice(str(error), "error")
            await self.choose("Which model instead?")
            return
        self._status.flash("looking for models on this machine…", 10)
        memory, found = await asyncio.gather(
            asyncio.to_thread(model_picker.available_memory), find_servers()
        )
        self._status.flash("")
        picker, advice = model_picker.first_run_picker(memory, found)
        if not self._advised:  # each message without a model comes here again
            self._advised = True
            self._transcript_model.add_notice(f"no model yet; {advice}")
        while chosen := await self._app.push_screen_wait(picker):
            if await self._use(chosen):
                return
            picker, _ = model_picker.first_run_picker(memory, found)

    async def use(self, name: str) -> None:
        """Use the model `name`, or a picker's answer; download it first if needed, and try it
        first if it is on a server."""
        await self._use(name)

    async def _use(self, name: str) -> bool:
        """Use a model; False if the user went back from a question."""
        from laguna_agent.models.servers.providers import provider_of
        from laguna_agent.models.store import Store, is_path

        config = self._config
        if name.startswith(model_picker.SERVER):
            address, _, model = name.removeprefix(model_picker.SERVER).partition("\n")
            return await self._add_server(address, model)
        if name == model_picker.FILE:
            path = await self._ask("Path of a GGUF file")
            if path:
                await self._import_file(path)
            return bool(path)
        if name.endswith("/") and name[:-1] in config.providers:
            return await self._add_server(config.providers[name[:-1]].url)
        if remote := provider_of(name, config.providers):
            return await self._add_server(config.providers[remote[0]].url, remote[1])
        if not is_path(name):
            found = await asyncio.to_thread(Store().find, name)
            if found is None or not found.present:
                name = await self._download(name, offline=config.offline)
            else:
                name = found.name
        self._reopen(model=name)
        return True

    async def session_opened(self) -> None:
        """Keep the choice that was made, now that its model is loaded; check its server."""
        chosen, self._chosen = self._chosen, ""
        settings = self._agent.settings
        if chosen and settings is not None and settings.config.model == chosen:
            await self._remember(chosen)
        await self._check_server()

    async def _check_server(self) -> None:
        """Say what is wrong with the server of the model in use, if it does not answer."""
        from laguna_agent.models.servers.endpoint import endpoint_of
        from laguna_agent.models.servers.model_list import NotAnApiError, list_models
        from laguna_agent.models.servers.providers import provider_of

        config = self._config
        if (remote := provider_of(self._in_use, config.providers)) is None:
            return
        provider, model = remote
        await asyncio.to_thread(import_client)
        try:
            settings = config.providers[provider]
            endpoint = await asyncio.to_thread(
                endpoint_of, provider, settings, offline=config.offline
            )
            found = await list_models(endpoint)
        except LagunaError as error:
            # Some servers do not list their models.
            if not (isinstance(error, NotAnApiError) and "HTTP 404" in error.message):
                text = f"{self._in_use}: {error}\n/model chooses another model"
                self._transcript_model.add_notice(text, "warning")
            return
        if not found.serves(model):
            self._transcript_model.add_notice(
                f"{found.place} does not list {model}, but {', '.join(found.models[:5])}"
                f"{', …' if len(found.models) > 5 else ''}\n/model chooses one",
                "warning",
            )

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

    @property
    def _in_use(self) -> str:
        """The name of the model that is loaded."""
        session = self._agent.session
        return session.info.name if session is not None else ""

    async def _ask(self, title: str, value: str = "") -> str | None:
        return await self._app.push_screen_wait(Question(title, value=value))

    def _reopen(self, **changes: Any) -> None:
        """Open the conversation again, or a new one if it is empty, with `changes` in the
        configuration."""
        session = self._agent.session
        resume = None
        if session is not None and session.conversation_state.user_messages:
            resume = session.trajectory.id
        self._chosen = changes["model"]
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
        self._reopen(model=model.name)

    async def _add_server(self, address: str = "", model: str = "") -> bool:
        """Let the user choose a server and a model that answers, and use it from now on."""
        config = self._config
        tried = await self._app.push_screen_wait(ServerDialog(config, address=address, model=model))
        if tried is None:
            return False
        settings = tried.settings
        if settings != config.providers.get(tried.provider) or tried.key:
            path = config_dir() / "config.toml"
            try:
                settings = await asyncio.to_thread(_write_provider, path, tried)
                self._transcript_model.add_notice(f"added {tried.provider} to {path}")
            except LagunaError as error:  # it can be used all the same
                self._transcript_model.add_notice(f"not kept: {error}", "warning")
        name = f"{tried.provider}/{tried.model}"
        self._reopen(model=name, providers={**config.providers, tried.provider: settings})
        return True

    async def _remember(self, name: str) -> None:
        """Make a model the default, unless it is none of the store or of a server."""
        from laguna_agent.config import load_config

        await asyncio.to_thread(_make_default, name)
        configured = (await asyncio.to_thread(load_config)).model
        if configured and configured != name:
            self._transcript_model.add_notice(
                f"used now; `model` in your configuration (or LAGUNA_MODEL) names {configured}, "
                "which the next start uses"
            )


def _make_default(name: str) -> None:
    from laguna_agent.models.store import Store

    store = Store()
    found = store.find(name)
    if found is not None or ("/" in name and not name.endswith(".gguf")):
        store.set_default(found.name if found else name)


def _write_provider(path: Path, tried: TriedServer) -> ProviderConfig:
    """Write a provider to the configuration, and its key to a file that only this user reads.

    Returns the settings as written. Raises LagunaError.
    """
    from laguna_agent.config_file import edit_config

    settings = tried.settings
    if tried.key:
        file = path.parent / "keys" / re.sub(r"[^\w-]", "-", tried.provider)
        try:
            make_private(file.parent)
            atomic_write(file, tried.key + "\n", mode=0o600)
        except OSError as error:
            raise LagunaError(f"cannot write {file}: {error.strerror}") from error
        settings = settings.model_copy(
            update={"key_env": None, "key_command": None, "key_file": str(file)}
        )
    values = settings.model_dump(exclude_none=True, exclude_defaults=True)

    def add(tree: MutableMapping[str, Any]) -> None:
        table = tree.setdefault("providers", {}).setdefault(tried.provider, {})
        for key in ("key_env", "key_file", "key_command"):
            if key in table and key not in values:
                del table[key]
        table.update(values)

    edit_config(path, add)
    return settings


async def find_servers() -> list[FoundServer]:
    """The model servers that run on this machine."""
    from laguna_agent.models.servers.discovery import find_local

    await asyncio.to_thread(import_client)
    return await find_local()
