"""Model servers by name: `PROVIDER/NAME` is the model NAME of a provider in the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from laguna_agent.config import Config, ProviderConfig
from laguna_agent.errors import UsageError
from laguna_agent.models.conversation import ModelInfo

if TYPE_CHECKING:
    from laguna_agent.models.servers.http_conversation import HttpConversation
    from laguna_agent.models.servers.server_facts import ServerFacts
    from laguna_agent.models.servers.tries import Timeouts

DEFAULT_CONTEXT = 32_768
"""Tokens, when neither the configuration nor the server tells."""


def provider_of(name: str, providers: Mapping[str, ProviderConfig]) -> tuple[str, str] | None:
    """(provider, model) of a model's name; None when it names no provider."""
    provider, slash, model = name.partition("/")
    return (provider, model) if slash and model and provider in providers else None


async def open_provider(
    name: str,
    config: Config,
    *,
    environment: Mapping[str, str] | None = None,
    timeouts: Timeouts | None = None,
) -> HttpConversation:
    """A conversation with the model `PROVIDER/NAME`. The server need not run yet.

    Raises UsageError when the name, the address or the key is wrong, or when `offline` forbids
    the address.
    """
    import httpx

    from laguna_agent.models.http_client import is_local
    from laguna_agent.models.servers.dialect import Dialect
    from laguna_agent.models.servers.http_conversation import HttpConversation, Timeouts

    found = provider_of(name, config.providers)
    if found is None:
        known = ", ".join(sorted(config.providers)) or "none"
        raise UsageError(
            f"`{name}` is not a model of a configured provider (providers: {known})",
            hint='Add [providers.NAME] with url = "http://host:port/v1" to config.toml.',
        )
    provider, model = found
    settings = config.providers[provider]
    try:
        url = httpx.URL(settings.url)
    except httpx.InvalidURL as error:
        raise UsageError(f"`url` of provider {provider} is not an address: {error}") from error
    shown = str(url.copy_with(userinfo=b"", query=None)).rstrip("/")
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(
            f"`url` of provider {provider} is not an address: {shown}",
            hint='It looks like "http://127.0.0.1:8080/v1".',
        )
    if url.path in ("", "/"):
        url, shown = url.copy_with(path="/v1"), f"{shown}/v1"
    address = str(url).rstrip("/").removesuffix("/chat/completions")
    if config.offline and not is_local(address):
        raise UsageError(
            f"provider {provider} is at {url.host}, and laguna is offline",
            hint="Drop --offline (or LAGUNA_OFFLINE), or choose a model on this machine.",
        )
    environment = os.environ if environment is None else environment
    key = environment.get(settings.key_env) if settings.key_env else None
    if settings.key_env and not key:
        raise UsageError(
            f"the key of provider {provider} is missing: {settings.key_env} is not set",
            hint=f"export {settings.key_env}=…",
        )
    facts = await _ask(address, model, key, settings.ca)
    context = settings.context or facts.context or DEFAULT_CONTEXT
    info = ModelInfo(
        name=name,
        format="openai",
        context=context,
        parameters=facts.parameters,
        engine=f"server {shown}",
        remote=not is_local(address),
    )
    if timeouts is None and settings.timeout is not None:
        timeouts = Timeouts(first_s=settings.timeout, per_token_s=0.0, stall_s=settings.timeout)
    return HttpConversation(
        url=address,
        model=model,
        info=info,
        key=key,
        timeouts=timeouts,
        ca=settings.ca,
        dialect=Dialect(budget_field=facts.server.budget_field),
        raise_context=facts.server.raise_context,
        context_known=bool(settings.context or facts.context),
    )


async def _ask(address: str, model: str, key: str | None, ca: str | None) -> ServerFacts:
    """What the server tells of itself, as far as it does so at once."""
    import httpx

    from laguna_agent.models.http_client import client_options
    from laguna_agent.models.servers.server_facts import ask

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    options = client_options(address, ca=ca)
    async with httpx.AsyncClient(headers=headers, **options) as client:
        return await ask(client, address, model)
