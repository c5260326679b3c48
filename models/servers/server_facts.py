"""What servers tell of themselves: which program it is, its context, the size of its model.

A server is known by its own answers (`owned_by` of its models, the header `Server`), never by its
address. `SERVERS` has what differs between them; docs/servers.md shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

_LOADED = "/api/ps"
"""Ollama's list of loaded models. `owned_by` of those from elsewhere is no help."""


@dataclass(frozen=True)
class Server:
    """Facts about one program that serves models."""

    name: str
    owned_by: tuple[str, ...] = ()
    """What `owned_by` of its models says."""
    header: str = ""
    """What its header `Server` begins with."""
    more: tuple[str, ...] = ()
    """Where it tells the context that is in use, beside the list of models."""
    budget_field: str | None = None
    """The field of a request that ends a thought after so many tokens."""
    raise_context: str = "set a larger one at the server"
    """How a person makes the context larger, in words that follow "For a larger context"."""


SERVERS = (
    Server(
        "llama-server", ("llamacpp",), "llama.cpp", ("/props",),
        budget_field="thinking_budget_tokens",
        raise_context="start llama-server with a larger -c",
    ),
    Server(
        "vLLM", ("vllm",),
        budget_field="thinking_token_budget",
        raise_context="start vLLM with a larger --max-model-len",
    ),
    Server("SGLang", ("sglang",), raise_context="start SGLang with a larger --context-length"),
    Server(
        "Ollama", ("library",), more=(_LOADED,),
        raise_context="start Ollama with OLLAMA_CONTEXT_LENGTH=32768",
    ),
    Server(
        "LM Studio", ("organization_owner",), more=("/api/v0/models",),
        raise_context="load the model in LM Studio with a larger Context Length",
    ),
    Server(
        "TabbyAPI", ("tabbyapi",), more=("/v1/model",),
        raise_context="set max_seq_len in TabbyAPI's config.yml",
    ),
)  # fmt: skip
_TIMEOUT_S = 3.0
_SMALLEST = 512
"""Tokens of a context that is believed."""
UNKNOWN = Server("unknown", more=("/props", _LOADED))


@dataclass(frozen=True)
class ServerFacts:
    """What a server told; 0 is unknown."""

    server: Server = UNKNOWN
    context: int = 0
    parameters: int = 0


async def ask(client: httpx.AsyncClient, address: str, model: str) -> ServerFacts:
    """Ask the server at `address` about a model; what it does not tell stays unknown."""
    facts = ServerFacts()
    try:
        answer, header = await _get(client, f"{address}/models")
        entries = entries_of(answer)
        mine = _of_model(entries, model)
        facts = ServerFacts(server_of(entries, header), _context(mine), _parameters(mine))
        for place in facts.server.more:
            if facts.context and facts.parameters:
                break
            answer, _ = await _get(client, address.removesuffix("/v1") + place)
            facts = _with(facts, answer, place, model)
    except httpx.HTTPError:  # it does not run, or does not answer in time
        pass
    return facts


def server_of(entries: list[Mapping[str, Any]], header: str) -> Server:
    """The program, from its models and its header `Server`."""
    owners = {str(entry.get("owned_by", "")).lower() for entry in entries}
    for server in SERVERS:
        named = server.header and header.lower().startswith(server.header)
        if named or owners & set(server.owned_by):
            return server
    return UNKNOWN


def _with(facts: ServerFacts, answer: Any, place: str, model: str) -> ServerFacts:
    """The facts, and what a further answer adds."""
    entries = entries_of(answer)
    mine = _of_model(entries, model) if place != "/props" else {}
    ollama = facts.server is UNKNOWN and place == _LOADED and bool(entries)
    return ServerFacts(
        next(s for s in SERVERS if place in s.more) if ollama else facts.server,
        facts.context or _context(mine) or _context(answer),
        facts.parameters or _parameters(mine),
    )


async def _get(client: httpx.AsyncClient, address: str) -> tuple[Any, str]:
    """(the answer, the header `Server`); None for an answer that is not JSON."""
    response = await client.get(address, timeout=_TIMEOUT_S)
    try:
        return response.json(), response.headers.get("server", "")
    except (ValueError, RecursionError):
        return None, response.headers.get("server", "")


def entries_of(answer: Any) -> list[Mapping[str, Any]]:
    """The models that an answer lists."""
    listed = answer.get("data") or answer.get("models") if isinstance(answer, Mapping) else answer
    return [e for e in listed if isinstance(e, Mapping)] if isinstance(listed, list) else []


def _of_model(entries: list[Mapping[str, Any]], model: str) -> Mapping[str, Any]:
    """The entry of a model, or the only one there is."""
    names = {model, f"{model}:latest"}
    for entry in entries:
        if names & {str(entry.get(key, "")) for key in ("id", "name", "model", "key")}:
            return entry
    return entries[0] if len(entries) == 1 else {}


def _context(data: Any) -> int:
    """The context in an entry or in the answer about the only model."""
    if not isinstance(data, Mapping):
        return 0
    places = [
        data, data.get("default_generation_settings"), data.get("parameters"), data.get("meta"),
        data.get("top_provider"),
    ]  # fmt: skip
    keys = ("loaded_context_length", "max_model_len", "context_length", "n_ctx", "max_seq_len")
    found = [
        place[key]
        for place in places
        if isinstance(place, Mapping)
        for key in keys
        if isinstance(place.get(key), int) and place[key] >= _SMALLEST
    ]
    return found[0] if found else 0


def _parameters(data: Mapping[str, Any]) -> int:
    """The number of parameters in an entry: `n_params`, or a text such as "7.6B"."""
    meta, details = data.get("meta"), data.get("details")
    exact = meta.get("n_params") if isinstance(meta, Mapping) else None
    if isinstance(exact, int):
        return exact
    text = details.get("parameter_size") if isinstance(details, Mapping) else None
    text = text or data.get("params_string")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([BM])", str(text or "").strip(), re.IGNORECASE)
    if found is None:
        return 0
    return int(float(found[1]) * (1e9 if found[2].upper() == "B" else 1e6))
