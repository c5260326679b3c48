"""What servers tell of themselves: which program it is, its context, the size of its model.

A server is known by its own answers (`owned_by` of its models, the header `Server`), never by its
address. `SERVERS` has what differs between them; docs/servers.md shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import httpx

_LOADED = "/api/ps"
"""Ollama's list of loaded models. `owned_by` of those from elsewhere is no help."""
_SHOW = "POST /api/show"
_PROPS = "/props?model={model}&autoload=false"
"""A llama-server with several models is asked about one of them, and not to load it."""


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
    version_at: str = ""
    """Where it tells its version."""
    budget_field: str | None = None
    """The field of a request that ends a thought after so many tokens."""
    raise_context: str = "set a larger one at the server"
    """How a person makes the context larger, in words that follow "For a larger context"."""
    reports_reuse: str = ""
    """The flag with which it reports reused tokens, where it takes one."""


SERVERS = (
    Server(
        "llama-server", ("llamacpp",), "llama.cpp", (_PROPS,), _PROPS,
        budget_field="thinking_budget_tokens",
        raise_context="start llama-server with a larger -c",
    ),
    Server(
        "vLLM", ("vllm",), version_at="/version",
        budget_field="thinking_token_budget",
        raise_context="start vLLM with a larger --max-model-len",
        reports_reuse="--enable-prompt-tokens-details",
    ),
    Server(
        "SGLang", ("sglang",), more=("/server_info", "/get_server_info"),
        version_at="/server_info",
        raise_context="start SGLang with a larger --context-length",
        reports_reuse="--enable-cache-report",
    ),
    Server(
        "Ollama", ("library",), more=(_LOADED, _SHOW), version_at="/api/version",
        raise_context="start Ollama with OLLAMA_CONTEXT_LENGTH=32768",
    ),
    Server(
        "LM Studio", ("organization_owner",), more=("/api/v1/models", "/api/v0/models"),
        raise_context="load the model in LM Studio with a larger Context Length",
    ),
    Server(
        "TabbyAPI", ("tabbyapi",), more=("/v1/model",),
        raise_context="set max_seq_len in TabbyAPI's config.yml",
    ),
)  # fmt: skip
_TIMEOUT_S = 3.0
_MOST_BYTES = 16 << 20
"""Bytes of an answer that is read: OpenRouter's list of models has a few hundred entries."""
_SMALLEST = 512
"""Tokens of a context that is believed."""
_MOST_MODELS = 2_000
_MOST_CHARS = 300
"""Of a model's name that is believed."""
_NO_CHAT = re.compile(
    r"embed|rerank|whisper|(?:^|[/_-])(?:tts|bge|clip|mmproj)[-_:.]", re.IGNORECASE
)
UNKNOWN = Server("unknown", more=(_PROPS, _LOADED))


@dataclass(frozen=True)
class ServerFacts:
    """What a server told; 0 and "" are unknown."""

    server: Server = UNKNOWN
    context: int = 0
    """Tokens of the context that is in use."""
    most: int = 0
    """Tokens of the largest context that the model can have: of one that is not loaded."""
    parameters: int = 0
    version: str = ""
    models: tuple[str, ...] = ()
    """The models that it lists."""


async def ask(client: httpx.AsyncClient, address: str, model: str) -> ServerFacts:
    """Ask the server at `address` about a model; what it does not tell stays unknown."""
    facts = ServerFacts()
    root = address.removesuffix("/v1")
    try:
        answer, header = await _get(client, f"{address}/models")
        entries = entries_of(answer)
        mine = of_model(entries, model)
        facts = ServerFacts(server_of(entries, header), models=model_names(entries))
        facts = _with_entry(facts, mine)
        for place in facts.server.more:
            if facts.context and (facts.parameters or facts.version):
                break
            answer, _ = await _get(client, root + place, model)
            facts = _with(facts, answer, place, model)
        if facts.server.version_at and not facts.version:
            answer, _ = await _get(client, root + facts.server.version_at, model)
            facts = replace(facts, version=_version(answer))
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
    if facts.server is UNKNOWN and place == _LOADED and entries:
        facts = replace(facts, server=next(s for s in SERVERS if place in s.more))
    mine = {} if place in (_PROPS, _SHOW) else of_model(entries, model)
    facts = _with_entry(facts, mine)
    if isinstance(answer, Mapping):
        facts = _with_entry(facts, answer)
    return replace(facts, version=facts.version or _version(answer))


def _with_entry(facts: ServerFacts, entry: Mapping[str, Any]) -> ServerFacts:
    return replace(
        facts,
        context=facts.context or _context(entry),
        most=facts.most or _most(entry),
        parameters=facts.parameters or _parameters(entry),
    )


async def _get(client: httpx.AsyncClient, place: str, model: str = "") -> tuple[Any, str]:
    """(the answer, the header `Server`); None for an answer that is not JSON."""
    method, url = "GET", place.replace("{model}", quote(model, safe=""))
    body = None
    if url.endswith(_SHOW):
        method, url, body = "POST", url.replace("POST ", ""), {"model": model}
    response = await client.request(method, url, json=body, timeout=_TIMEOUT_S)
    try:
        value = response.json() if len(response.content) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        value = None
    return value, response.headers.get("server", "")


def entries_of(answer: Any) -> list[Mapping[str, Any]]:
    """The models that an answer lists."""
    listed = answer.get("data") or answer.get("models") if isinstance(answer, Mapping) else answer
    return [e for e in listed if isinstance(e, Mapping)] if isinstance(listed, list) else []


def name_of(entry: Mapping[str, Any]) -> Any:
    """The name of a model as the server has it, which may be of any type."""
    return entry.get("id") or entry.get("name") or entry.get("model")


def model_names(entries: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names of models, those that are loaded first, without those that cannot chat."""

    def unloaded(entry: Mapping[str, Any]) -> bool:
        status = entry.get("status")
        return isinstance(status, Mapping) and status.get("value") == "unloaded"

    named = [name_of(entry) for entry in sorted(entries, key=unloaded)]
    once = dict.fromkeys(name for name in named if isinstance(name, str))
    names = [name for name in once if name.isprintable() and name == name.strip()]
    names = [name for name in names if len(name) <= _MOST_CHARS][:_MOST_MODELS]
    return tuple([name for name in names if not _NO_CHAT.search(name)] or names)


def of_model(entries: list[Mapping[str, Any]], model: str) -> Mapping[str, Any]:
    """The entry of a model, or the only one there is."""
    names = {model, f"{model}:latest"}
    for entry in entries:
        if names & _names(entry):
            mine = [one for one in _instances(entry) if str(one.get("id")) in names]
            return {**entry, "loaded_instances": mine} if mine else entry
    return entries[0] if len(entries) == 1 else {}


def _names(entry: Mapping[str, Any]) -> set[str]:
    """The names of a model, its aliases and those of its loaded instances."""
    names = {str(entry.get(key, "")) for key in ("id", "name", "model", "key")}
    aliases = entry.get("aliases")
    names |= {str(alias) for alias in aliases} if isinstance(aliases, list) else set()
    return names | {str(instance.get("id")) for instance in _instances(entry)}


def _instances(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The loaded instances of a model of LM Studio."""
    found = entry.get("loaded_instances")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _context(data: Mapping[str, Any]) -> int:
    """The context in use, in an entry or in the answer about the only model."""
    configs = [instance.get("config") for instance in _instances(data)]
    places = [
        data, data.get("default_generation_settings"), data.get("parameters"), data.get("meta"),
        *configs,
    ]  # fmt: skip
    keys = ("loaded_context_length", "max_model_len", "context_length", "n_ctx", "max_seq_len")
    found = [n for place in places for key in keys if (n := _tokens(place, key))]
    # OpenRouter: of the provider that serves it, which may have less than the model.
    served = _tokens(data.get("top_provider"), "context_length")
    shown = data.get("parameters")
    if isinstance(shown, str):  # of Ollama, whatever else is set
        found += [int(n) for n in re.findall(r"(?m)^num_ctx\s+(\d{3,9})\s*$", shown)]
    return min(found[0], served) if found and served else found[0] if found else served


def _tokens(place: Any, key: str) -> int:
    value = place.get(key) if isinstance(place, Mapping) else None
    if isinstance(value, int) and not isinstance(value, bool) and value >= _SMALLEST:
        return value
    return 0


def _flag(arguments: Any, names: tuple[str, ...]) -> list[int]:
    """The number after one of these flags in a command line."""
    words = list(map(str, arguments)) if isinstance(arguments, list) else []
    after = [value for name, value in pairwise(words) if name in names]
    return [int(value) for value in after if value.isdecimal() and int(value) >= _SMALLEST]


def _most(entry: Mapping[str, Any]) -> int:
    """The largest context that a model can have."""
    told = _tokens(entry, "max_context_length") or _tokens(entry.get("meta"), "n_ctx_train")
    info, status = entry.get("model_info"), entry.get("status")
    if isinstance(status, Mapping):  # how a llama-server will load a model, for all its slots
        told = min(_flag(status.get("args"), ("-c", "--ctx-size")), default=told)
    if not told and isinstance(info, Mapping):
        told = next((_tokens(info, k) for k in info if str(k).endswith(".context_length")), 0)
    return told


def _version(answer: Any) -> str:
    """The version in an answer, at most 100 characters."""
    if not isinstance(answer, Mapping):
        return ""
    return str(answer.get("version") or answer.get("build_info") or "")[:100]


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
