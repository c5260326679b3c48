"""The dialog that adds a model server: its address, its models, and one of them tried.

It writes nothing. What it ends with was seen to work: the server listed its models, and the chosen
one wrote a few tokens.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from laguna_agent.errors import LagunaError
from laguna_agent.interfaces.tui.screens.fitted_dialog import ListDialog, Rows
from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.widgets.line_input import LineInput
from laguna_agent.log import unexpected
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.config import Config, ProviderConfig
    from laguna_agent.models.servers.model_list import FoundServer

_HINT = "enter goes on · esc goes back · nothing is written before the model has answered"
_TRIAL_KEY = "LAGUNA_TRIAL_KEY"
"""Stands for the typed key while it is tried; no variable of the process has it."""
_GROUP = "server"


class TriedServer(NamedTuple):
    """A server that answered: the provider's name and settings, the model, and the key that was
    typed for it, which is not in the settings."""

    provider: str
    settings: ProviderConfig
    model: str
    key: str = ""


class ServerDialog(ListDialog[TriedServer]):
    """Asks for a server and a model until one answers; Escape goes back by a step, and closes."""

    def __init__(self, config: Config, *, address: str = "", model: str = "") -> None:
        """With `address` that server is asked at once, and with `model` that model is tried."""
        super().__init__()
        self._config, self._address, self._model = config, address, model
        self._found: FoundServer | None = None
        self._shown: list[str] = []
        self._key = ""
        self._trying = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog server"):
            yield Static(Text("A server with an OpenAI-compatible API"), classes="dialog-title")
            yield LineInput(
                self._address, placeholder="its address, such as 192.168.1.20:8080", id="address"
            )
            yield LineInput(
                placeholder="its API key, or $NAME of a variable that holds it",
                password=True, id="key",
            )  # fmt: skip
            yield LineInput(placeholder="search its models", id="search")
            yield Rows()
            yield Static(id="server-state")
            yield Static(Text(_HINT), classes="dialog-hint")

    @property
    def body(self) -> OptionList:
        return self.options

    @property
    def contents(self) -> Sequence[Widget]:
        return [self.options]

    def on_mount(self) -> None:
        self.options.can_focus = False
        self._show_part("address")
        if self._address:
            self._ask()

    # --- steps -----------------------------------------------------------------------------

    def _show_part(self, part: str) -> None:
        """Show the fields up to one, which gets the focus: address, key, or search."""
        key, search = self.query_one("#key", Input), self.query_one("#search", Input)
        key.display = part == "key" or (part == "search" and bool(self._key))
        search.display = self.options.display = part == "search"
        self.query_one(f"#{part}", Input).focus()

    def _tell(self, text: str, style: str = "") -> None:
        self.query_one("#server-state", Static).update(Text(visible(text), style=style))
        self.call_after_refresh(self.fit)

    def _fail(self, error: Exception) -> None:
        text = str(error) if isinstance(error, LagunaError) else unexpected(error)
        self._tell(text, f"bold {self.app.current_theme.error or ''}".strip())

    def _ask(self) -> None:
        in_background(self, _GROUP, self._guarded, self._list)

    async def _guarded(self, step: Callable[..., Coroutine[Any, Any, None]], *args: str) -> None:
        from laguna_agent.models.servers.refusals import KeyNeededError

        self._trying = True
        try:
            await step(*args)
        except KeyNeededError as error:
            self._show_part("key")
            self._fail(error)
        except Exception as error:
            self._fail(error)
        finally:
            self._trying = False

    async def _list(self) -> None:
        """Ask the server at the address for its models, and show them."""
        typed = self.query_one("#address", Input).value
        self._found = None
        self._show_part("key" if self._key else "address")
        self._tell(f"asking {typed} for its models…")
        await asyncio.to_thread(import_client)
        try:
            found = await self._reach(typed)
        except LagunaError as error:
            if not self._may_be_typed(error):
                raise
            return
        self._found = found
        self.query_one("#address", Input).value = found.endpoint.shown
        self._offer()
        if self._model and found.serves(self._model):
            model, self._model = self._model, ""
            await self._try(model)

    async def _reach(self, typed: str) -> FoundServer:
        from laguna_agent.models.servers.discovery import provider_name, reach
        from laguna_agent.models.servers.endpoint import Endpoint, endpoint_of
        from laguna_agent.models.servers.model_list import FoundServer, list_models
        from laguna_agent.models.servers.typed_address import addresses

        offline, known = self._config.offline, self._config.providers
        first = FoundServer(Endpoint(addresses(typed)[0]), "")
        name = provider_name(first, known)
        if name in known and not self._key:  # with the settings that it has already
            endpoint = await asyncio.to_thread(endpoint_of, name, known[name], offline=offline)
            return await list_models(endpoint)
        return await reach(typed, self._key_value() or None, offline=offline)

    def _may_be_typed(self, error: LagunaError) -> bool:
        """Whether the server may serve models that it does not list: then a name can be typed."""
        from laguna_agent.models.servers.endpoint import Endpoint
        from laguna_agent.models.servers.model_list import FoundServer, NotAnApiError
        from laguna_agent.models.servers.typed_address import addresses

        if not (isinstance(error, NotAnApiError) and "HTTP 404" in error.message):
            return False
        endpoint = Endpoint(addresses(self.query_one("#address", Input).value)[0])
        self._found = FoundServer(endpoint, "")
        self._offer()
        self._fail(error)
        return True

    def _offer(self) -> None:
        """Show the models of the server that was found."""
        found = self._found
        assert found is not None
        search = self.query_one("#search", Input)
        search.value = ""
        search.placeholder = "search its models" if found.models else "name of a model there"
        self._filter("")
        self._show_part("search")
        if found.models:
            self._tell(f"{found.place} has {counted(len(found.models), 'model')}: choose one")
        else:
            pull = " (`ollama pull NAME` gets one)" if found.program == "Ollama" else ""
            self._tell(f"{found.place} lists no model{pull}")

    def _filter(self, text: str) -> None:
        words = text.casefold().split()
        models = self._found.models if self._found else ()
        self._shown = [m for m in models if all(word in m.casefold() for word in words)]
        options = self.options
        options.clear_options()
        options.add_options([Option(visible(m, single_line=True)) for m in self._shown])
        options.highlighted = 0 if self._shown else None
        self.fit()

    async def _try(self, model: str) -> None:
        """Let the model write a few tokens; then close with it."""
        from laguna_agent.models.servers.discovery import provider_name, try_model

        assert self._found is not None
        self._tell(f"trying {model}… (a server that loads it first takes longer; esc stops)")
        await asyncio.to_thread(import_client)
        name = provider_name(self._found, self._config.providers)
        settings = self._settings(name)
        environment = {**os.environ, _TRIAL_KEY: self._key}
        trial = settings
        if self._key and not self._key.startswith("$"):
            trial = settings.model_copy(update=_key_from(_TRIAL_KEY))
        providers = {**self._config.providers, name: trial}
        tried = self._config.model_copy(update={"providers": providers})
        await try_model(f"{name}/{model}", tried, environment=environment)
        typed_key = "" if self._key.startswith("$") else self._key
        self.dismiss(TriedServer(name, settings, model, typed_key))

    def _settings(self, name: str) -> ProviderConfig:
        from laguna_agent.config import ProviderConfig

        assert self._found is not None
        known = self._config.providers.get(name)
        base = known or ProviderConfig(url=self._found.endpoint.address)
        if self._key.startswith("$"):
            return base.model_copy(update=_key_from(self._key[1:]))
        return base

    def _key_value(self) -> str:
        """The key itself. Raises LagunaError for a variable that is not set."""
        if not self._key.startswith("$"):
            return self._key
        if value := os.environ.get(self._key[1:]):
            return value
        raise LagunaError(f"{self._key} is not set", hint="Set it before you start laguna.")

    # --- keys ------------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input.id == "search":
            self._filter(event.value)
        elif event.input.id == "address" and event.input.has_focus and self._found is not None:
            self._found = None
            self._show_part("address")
            self._tell("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        match event.input.id:
            case "address":
                self._key = ""
                self._ask()
            case "key" if event.value.strip():
                self._key = _key_of(event.value.strip())
                self._ask()
            case "search":
                self._filter(event.value)
                self._choose(event.value.strip())

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._choose("")

    def _choose(self, typed: str) -> None:
        index = self.options.highlighted
        model = self._shown[index] if index is not None and index < len(self._shown) else typed
        if model and self._found is not None:
            in_background(self, _GROUP, self._guarded, self._try, model)

    def action_cancel(self) -> None:
        """Stop what is being asked; go back to the address; close."""
        if self._trying:
            self.workers.cancel_group(self, _GROUP)
            self._trying = False
            self._tell("stopped")
        elif not self.query_one("#address", Input).has_focus:
            self._found, self._key = None, ""
            self._show_part("address")
            self._tell("")
        else:
            self.dismiss(None)


def _key_of(typed: str) -> str:
    """A key, or `$NAME` for a variable, also where only the name of one that is set was typed."""
    name = typed.removeprefix("$").removeprefix("{").removesuffix("}")
    if re.fullmatch(r"[A-Za-z_]\w*", name) and (typed.startswith("$") or name in os.environ):
        return f"${name}"
    return typed


def _key_from(variable: str) -> dict[str, Any]:
    return {"key_env": variable, "key_file": None, "key_command": None}


def import_client() -> None:
    """Import the HTTP client, which takes longer than a frame."""
    from laguna_agent.models.servers import http_conversation  # noqa: F401
