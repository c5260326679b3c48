"""Where a provider's API is, and what reaching it takes: its address, key and certificates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from laguna_agent import __version__
from laguna_agent.config import ProviderConfig
from laguna_agent.errors import ServerSettingsError

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Endpoint:
    """A provider's API. `address` is its base, such as `http://127.0.0.1:8080/v1`."""

    address: str
    key: str | None = field(default=None, repr=False)
    ca: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool = True
    new_key: Callable[[], str | None] | None = field(default=None, repr=False)
    """Reads the key again, when the server no longer accepts it. Raises LagunaError."""

    @property
    def shown(self) -> str:
        """The address without a password in it."""
        from laguna_agent.models.http_client import without_password

        return without_password(self.address)

    def client(self, **more: Any) -> httpx.AsyncClient:
        """A client for it. Raises LagunaError for certificates or a proxy that cannot be used."""
        import httpx

        from laguna_agent.models.http_client import client_options

        headers = {"User-Agent": f"laguna/{__version__}"}
        headers |= {"Authorization": f"Bearer {self.key}"} if self.key else {}
        options = client_options(self.address, ca=self.ca, verify=self.verify)
        client = httpx.AsyncClient(headers=headers, **options, **more)
        client.headers.update(self.headers)
        return client


def endpoint_of(
    provider: str,
    settings: ProviderConfig,
    *,
    offline: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Endpoint:
    """The endpoint that the settings of `provider` name. May run its key command.

    Raises ServerSettingsError when the address or the key is wrong, or when `offline` forbids the
    address.
    """
    import httpx

    from laguna_agent.models.http_client import is_local
    from laguna_agent.models.servers.credentials import headers_of, key_of

    try:
        url = httpx.URL(settings.url)
    except httpx.InvalidURL as error:
        raise ServerSettingsError(
            f"`url` of provider {provider} is not an address: {error}"
        ) from error
    shown = str(url.copy_with(userinfo=b"", query=None)).rstrip("/")
    if url.scheme not in ("http", "https") or not url.host:
        raise ServerSettingsError(
            f"`url` of provider {provider} is not an address: {shown}",
            hint='It looks like "http://127.0.0.1:8080/v1".',
        )
    if url.path in ("", "/"):
        url = url.copy_with(path="/v1")
    address = str(url).rstrip("/").removesuffix("/chat/completions")
    if offline and not is_local(address):
        raise ServerSettingsError(
            f"provider {provider} is at {url.host}, and laguna is offline",
            hint="Drop --offline (or LAGUNA_OFFLINE), or choose a model on this machine.",
        )
    environment = os.environ if environment is None else environment
    return Endpoint(
        address,
        key_of(provider, settings, environment),
        settings.ca,
        headers_of(provider, settings, environment),
        settings.verify or url.scheme == "http",
        partial(key_of, provider, settings, environment, fresh=True),
    )
