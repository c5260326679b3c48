"""Asks a server for its models, and says in words what else it answered."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from laguna_agent.errors import ModelError
from laguna_agent.models.servers.endpoint import Endpoint
from laguna_agent.models.servers.refusals import (
    BusyError,
    KeyNeededError,
    RefusedRequestError,
    refusal,
)

if TYPE_CHECKING:
    import httpx

_LIMIT_S = 5.0
"""Seconds that the whole answer may take."""
_MOST_BYTES = 8 << 20
_NO_HOST = re.compile(
    r"name or service|nodename nor|name resolution|no address|getaddrinfo", re.IGNORECASE
)


class NotAnApiError(ModelError):
    """Something answers there, but not with a list of models."""


class OtherSchemeError(NotAnApiError):
    """It does not speak http, or https, as the address says."""


@dataclass(frozen=True)
class FoundServer:
    """A server that answered, and the models that it serves; those that cannot chat are left out
    where their names tell."""

    endpoint: Endpoint
    program: str
    """The program that serves, such as `Ollama`; empty when it does not tell."""
    models: tuple[str, ...] = ()
    wants_key: bool = False
    """Whether it lists its models only with an API key."""

    def serves(self, model: str) -> bool:
        """Whether it lists this model, or none at all."""
        return not self.models or bool({model, f"{model}:latest"} & {*self.models})

    @property
    def place(self) -> str:
        """The program and where it is, for a person."""
        host = urlsplit(self.endpoint.address).netloc.rpartition("@")[2]
        return f"{self.program} at {host}" if self.program else host


async def list_models(
    endpoint: Endpoint, *, limit_s: float | None = None, client: httpx.AsyncClient | None = None
) -> FoundServer:
    """Ask a server for its models. Raises ModelError in words for a person, among them
    KeyNeededError and NotAnApiError."""
    limit_s = _LIMIT_S if limit_s is None else limit_s
    if client is None:
        async with endpoint.client() as own:
            return await list_models(endpoint, limit_s=limit_s, client=own)
    import httpx

    from laguna_agent.models.servers.credentials import hidden
    from laguna_agent.models.servers.server_facts import (
        UNKNOWN,
        entries_of,
        model_names,
        server_of,
    )

    answered = False
    try:
        async with (
            asyncio.timeout(limit_s),
            client.stream("GET", f"{endpoint.address}/models", timeout=limit_s) as response,
        ):
            answered = True
            body = await _body(response)
    except (TimeoutError, httpx.TimeoutException):
        what = "does not finish its answer" if answered else "does not answer"
        raise ModelError(
            f"{endpoint.shown} {what} within {limit_s:g} s",
            hint="Is it the right port? A server that is loading or busy may need longer.",
        ) from None
    except httpx.HTTPError as error:
        raise _unreachable(endpoint, error) from error
    value = _json(body)
    if response.status_code != 200:
        raise _refused(endpoint, response, hidden(body.decode("utf-8", "replace")).encode())
    if not _lists_models(value):
        raise _no_api(endpoint, "with a web page" if _is_page(response, body) else "otherwise")
    entries = entries_of(value)
    server = server_of(entries, response.headers.get("server", ""))
    return FoundServer(endpoint, "" if server is UNKNOWN else server.name, model_names(entries))


# --- answers --------------------------------------------------------------------------------


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > _MOST_BYTES:
            return b""
    return bytes(body)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _lists_models(value: Any) -> bool:
    from laguna_agent.models.servers.server_facts import name_of

    listed = value
    if isinstance(value, Mapping):
        listed = value.get("data", value.get("models"))
        if listed is None and "data" in value:  # Ollama without a model
            listed = []
    return isinstance(listed, list) and all(
        isinstance(entry, Mapping) and isinstance(name_of(entry), str) for entry in listed
    )


def _is_page(response: httpx.Response, body: bytes) -> bool:
    return "html" in response.headers.get("content-type", "") or b"<html" in body[:2_000].lower()


def _refused(endpoint: Endpoint, response: httpx.Response, body: bytes) -> ModelError:
    from laguna_agent.models.http_client import proxy_for, without_password

    status = response.status_code
    proxy = proxy_for(endpoint.address)
    error = refusal(
        status, body, response.headers, proxy=without_password(proxy) if proxy else None
    )
    if status == 401 or (status == 403 and endpoint.key is None and _json(body) is not None):
        what = "does not accept the API key" if endpoint.key else "wants an API key"
        return KeyNeededError(f"{endpoint.shown} {what} (HTTP {status})")
    if isinstance(error, BusyError):
        return ModelError(
            f"{endpoint.shown} is not ready: {error}", hint="Wait until it is, then try again."
        )
    if isinstance(error, RefusedRequestError) or 300 <= status < 400 or status == 403:
        if status == 400 and b"https" in body[:2_000].lower():
            return OtherSchemeError(f"{endpoint.shown} speaks https", hint="Write https:// then.")
        place = response.headers.get("location")
        return _no_api(endpoint, f"HTTP {status}" + (f", to {place}" if place else ""))
    return error if isinstance(error, ModelError) else ModelError(str(error))


def _no_api(endpoint: Endpoint, how: str) -> NotAnApiError:
    return NotAnApiError(
        f"{endpoint.shown} answers, but not with a list of models ({how})",
        hint="Is that a model server? The address of its API ends with /v1 as a rule.",
    )


def _unreachable(endpoint: Endpoint, error: Exception) -> ModelError:
    from laguna_agent.models.http_client import proxy_for, without_password
    from laguna_agent.models.servers.sse import reason_of
    from laguna_agent.models.servers.tries import hopeless, unreachable

    proxy = proxy_for(endpoint.address)
    known = hopeless(error, endpoint.shown, without_password(proxy) if proxy else None)
    if isinstance(known, ModelError):
        speaks_http = "does not speak https" in known.message
        return OtherSchemeError(known.message, hint=known.hint) if speaks_http else known
    host = urlsplit(endpoint.address).hostname
    text = reason_of(error)
    if _NO_HOST.search(text):
        return ModelError(f"there is no host {host}", hint="Is the name spelled right?")
    if "disconnected" in text.lower() or "illegal" in text.lower():
        return OtherSchemeError(
            f"{endpoint.shown} does not speak http: {text}",
            hint="Its address may begin with https://, or it is another program.",
        )
    why = unreachable(endpoint.shown, text)
    hint = "Is the server running, at this port?" if why.startswith("nothing listens") else None
    return ModelError(why, hint=hint)
