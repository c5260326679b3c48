"""Model servers by name: `PROVIDER/NAME` is the model NAME of a provider in the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from laguna_agent.config import Config, ProviderConfig
from laguna_agent.errors import ServerSettingsError
from laguna_agent.models.conversation import ModelInfo

if TYPE_CHECKING:
    from laguna_agent.models.servers.http_conversation import HttpConversation
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

    Raises ServerSettingsError when the name, the address or the key is wrong, or when `offline`
    forbids the address.
    """
    from laguna_agent.models.http_client import is_local
    from laguna_agent.models.servers.dialect import Dialect
    from laguna_agent.models.servers.endpoint import endpoint_of
    from laguna_agent.models.servers.http_conversation import HttpConversation
    from laguna_agent.models.servers.lessons import Lessons, keep_served
    from laguna_agent.models.servers.server_facts import ask

    found = provider_of(name, config.providers)
    if found is None:
        known = ", ".join(sorted(config.providers)) or "none"
        raise ServerSettingsError(
            f"`{name}` is not a model of a configured provider (providers: {known})",
            hint='Add [providers.NAME] with url = "http://host:port/v1" to config.toml.',
        )
    provider, model = found
    settings = config.providers[provider]
    endpoint = await asyncio.to_thread(
        endpoint_of, provider, settings, offline=config.offline, environment=environment
    )
    async with endpoint.client() as client:
        facts = await ask(client, endpoint.address, model)
    await asyncio.to_thread(keep_served, provider, settings.url, facts.models)
    assumed = min(DEFAULT_CONTEXT, facts.most or DEFAULT_CONTEXT)
    context = settings.context or facts.context or assumed
    info = ModelInfo(
        name=name,
        format="openai",
        context=context,
        parameters=facts.parameters,
        engine=f"server {endpoint.shown}{'' if endpoint.verify else ', certificate not checked'}",
        remote=not is_local(endpoint.address),
        verified=endpoint.verify,
    )
    lessons = Lessons(provider, endpoint.shown, model, facts.version)
    return HttpConversation(
        endpoint=endpoint,
        model=model,
        info=info,
        timeouts=timeouts or _timeouts(settings),
        dialect=Dialect.of(settings.dialect, lessons.known(), facts.server.budget_field),
        lessons=lessons,
        facts=facts,
        context_known=bool(settings.context or facts.context),
    )


def _timeouts(settings: ProviderConfig) -> Timeouts:
    """The time limits of a provider."""
    from laguna_agent.models.servers.tries import Timeouts

    given = Timeouts()
    if settings.timeout is not None:
        seconds = settings.timeout
        given = replace(given, first_s=seconds, per_token_s=0.0, stall_s=seconds)
    if settings.loading_timeout is not None:
        given = replace(given, loading_s=settings.loading_timeout)
    return given
