"""Finds model servers, and tries one of their models before it is used.

Only addresses that a person typed or configured are asked, and the usual ports of this machine's
own loopback addresses. The first run, `/model` and `laguna models list` share it.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from laguna_agent.config import Config, ProviderConfig
from laguna_agent.errors import LagunaError, ServerSettingsError, UsageError
from laguna_agent.models.servers.endpoint import Endpoint, endpoint_of
from laguna_agent.models.servers.lessons import keep_served
from laguna_agent.models.servers.model_list import (
    FoundServer,
    NotAnApiError,
    OtherSchemeError,
    list_models,
)
from laguna_agent.models.servers.refusals import KeyNeededError
from laguna_agent.models.servers.typed_address import addresses

USUAL = (
    (8080, "/v1"),  # llama-server, llamafile, RamaLama, MLX
    (11434, "/v1"),  # Ollama
    (1234, "/v1"),  # LM Studio
    (8000, "/v1"),  # vLLM
    (30000, "/v1"),  # SGLang
    (5000, "/v1"),  # TabbyAPI, text-generation-webui
    (5001, "/v1"),  # KoboldCpp
    (1337, "/v1"),  # Jan
    (12434, "/engines/v1"),  # Docker Model Runner
)
"""Ports at which programs serve models unless told otherwise, and the path of their API."""
_LOOPBACK = ("127.0.0.1", "[::1]")
_LOCAL_S, _CONNECT_S = 1.0, 5.0
"""Seconds to wait for a server that may be there, and for one that a person named."""
_TRIED_TOKENS = 8


async def find_local(
    environment: Mapping[str, str] | None = None, *, usual: Sequence[tuple[int, str]] | None = None
) -> list[FoundServer]:
    """The servers that run at the usual ports of this machine's loopback addresses, and at the
    loopback address that OLLAMA_HOST names. All are asked at once, for a second at most."""
    usual = USUAL if usual is None else usual
    places = _ollama(os.environ if environment is None else environment)
    places += [f"http://{host}:{port}{path}" for host in _LOOPBACK for port, path in usual]
    endpoints = [Endpoint(address) for address in dict.fromkeys(places)]

    async with Endpoint(f"http://{_LOOPBACK[0]}").client() as client:

        async def look(endpoint: Endpoint) -> FoundServer | None:
            try:
                return await list_models(endpoint, limit_s=_LOCAL_S, client=client)
            except KeyNeededError:
                return FoundServer(endpoint, "", wants_key=True)
            except LagunaError:
                return None

        found = [server for server in await asyncio.gather(*map(look, endpoints)) if server]
    # One that serves at 127.0.0.1 and at ::1 is one.
    once: dict[Any, FoundServer] = {}
    for server in found:
        key = (urlsplit(server.endpoint.address).port, server.program, server.models)
        once.setdefault(key, server)
    return sorted(once.values(), key=lambda server: server.wants_key)


def _ollama(environment: Mapping[str, str]) -> list[str]:
    from laguna_agent.models.http_client import is_local

    host = environment.get("OLLAMA_HOST", "").strip()
    if not host:
        return []
    try:
        [address, *_] = addresses(host, port=11434)
    except UsageError:
        return []
    return [address] if is_local(address) and address.startswith("http:") else []


async def list_configured(config: Config) -> dict[str, FoundServer | LagunaError]:
    """What each provider of the configuration serves, or why that is not known, by its name.

    All are asked at once, for a few seconds at most.
    """

    async def ask(name: str, settings: ProviderConfig) -> FoundServer | LagunaError:
        try:
            # A key command may take a while.
            endpoint = await asyncio.to_thread(endpoint_of, name, settings, offline=config.offline)
            found = await list_models(endpoint)
        except LagunaError as error:
            return error
        await asyncio.to_thread(keep_served, name, settings.url, found.models)
        return found

    names = list(config.providers)
    answers = await asyncio.gather(*(ask(name, config.providers[name]) for name in names))
    return dict(zip(names, answers, strict=True))


async def reach(typed: str, key: str | None = None, *, offline: bool = False) -> FoundServer:
    """The server at an address as a person types it: without `http://` or the path, as a port.

    Raises UsageError for what is no address, and what `list_models` raises.
    """
    from laguna_agent.models.http_client import is_local

    problem: LagunaError | None = None
    scheme = ""
    for address in addresses(typed):
        if offline and not is_local(address):
            raise ServerSettingsError(
                f"{address} is on another machine, and laguna is offline",
                hint="Start laguna without --offline (or LAGUNA_OFFLINE) to use it.",
            )
        other_scheme = isinstance(problem, OtherSchemeError)
        if problem and not other_scheme and urlsplit(address).scheme != scheme:
            break  # it answered: it is at another path, if anywhere
        scheme = urlsplit(address).scheme
        try:
            return await list_models(Endpoint(address, key))
        except KeyNeededError:
            raise
        except LagunaError as error:
            problem = error if other_scheme else problem or error
            if not isinstance(error, NotAnApiError):
                break  # what is not there is not there at another path
    assert problem is not None
    raise problem


async def try_model(
    name: str, config: Config, *, environment: Mapping[str, str] | None = None
) -> None:
    """Let the model `PROVIDER/NAME` write a few tokens. Raises LagunaError when it does not.

    Waits for a server that loads the model first.
    """
    from laguna_agent.models.conversation import GenerateOptions, Message
    from laguna_agent.models.servers.providers import open_provider
    from laguna_agent.models.servers.tries import Timeouts

    timeouts = Timeouts(connect_s=_CONNECT_S)
    conversation = await open_provider(name, config, environment=environment, timeouts=timeouts)
    try:
        await conversation.start("Answer with one word.", [])
        await conversation.append([Message(role="user", content="Hello")])
        async for _ in conversation.generate(GenerateOptions(max_tokens=_TRIED_TOKENS)):
            pass
    finally:
        await conversation.aclose()


def provider_name(found: FoundServer, providers: Mapping[str, ProviderConfig]) -> str:
    """The provider that has this address already, or a new name after the program or the host."""
    for name, settings in providers.items():
        if settings.url.rstrip("/") in (
            found.endpoint.address,
            found.endpoint.address.removesuffix("/v1"),
        ):
            return name
    host = urlsplit(found.endpoint.address).hostname or ""
    if not found.program and not re.fullmatch(r"[\d.:]+|localhost", host):
        words = host.split(".")
        name = words[-2] if len(words) > 1 and words[-1].isalpha() else words[0]
    else:
        name = found.program or "server"
    name = base = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-") or "server"
    number = 2
    while name in providers:
        name, number = f"{base}-{number}", number + 1
    return name
