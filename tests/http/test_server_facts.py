"""What real servers say of themselves, in their own forms."""

from __future__ import annotations

from typing import Any

import pytest

from laguna_agent.agent.model_loading import load_model
from laguna_agent.config import Config, ProviderConfig
from laguna_agent.models.conversation import GenerateOptions
from laguna_agent.models.servers.providers import open_provider
from support.model_server import ModelServer
from support.talk_to_server import collect, says_hi

LLAMA = {
    "/v1/models": {
        "models": [{"name": "m", "model": "m"}],
        "object": "list",
        "data": [
            {"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx_train": 131072, "n_params": 3}}
        ],
    },
    "/props": {"default_generation_settings": {"n_ctx": 8192, "params": {}}, "total_slots": 1},
}
VLLM = {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 16384}]}}
OLLAMA = {
    "/v1/models": {
        "data": [{"id": "other", "owned_by": "library"}, {"id": "m:latest", "owned_by": "library"}]
    },
    "/api/ps": {
        "models": [
            {"name": "m:latest", "model": "m:latest", "details": {"parameter_size": "7.6B"},
             "context_length": 4096},
        ]
    },
}  # fmt: skip
LM_STUDIO = {
    "/v1/models": {"data": [{"id": "m", "owned_by": "organization_owner"}, {"id": "n"}]},
    "/api/v0/models": {
        "data": [
            {"id": "n", "max_context_length": 131072},
            {"id": "m", "max_context_length": 131072, "loaded_context_length": 4096},
        ]
    },
}
TABBY = {
    "/v1/models": {
        "data": [{"id": "m", "owned_by": "tabbyAPI"}, {"id": "n", "owned_by": "tabbyAPI"}]
    },
    "/v1/model": {"id": "m", "parameters": {"max_seq_len": 24576}},
}
OPENROUTER = {
    "/v1/models": {"data": [{"id": "m", "context_length": 65536, "top_provider": {}}, {"id": "n"}]}
}


async def opened(gets: dict[str, Any], **given: Any) -> tuple[Any, dict[str, Any]]:
    """The conversation's facts, and the first request."""
    async with ModelServer(says_hi) as server:
        server.gets = gets
        config = Config(providers={"box": ProviderConfig(url=server.url, **given)})
        conversation = await open_provider("box/m", config)
        await collect(conversation, GenerateOptions(thinking=True, thinking_budget=2048))
        await conversation.aclose()
    return conversation.info, server.requests[0]


@pytest.mark.parametrize(
    ("gets", "context"),
    [
        (LLAMA, 8192), (VLLM, 16384), (OLLAMA, 4096), (LM_STUDIO, 4096), (TABBY, 24576),
        (OPENROUTER, 65536), ({}, 32768), ({"/v1/models": {"data": "?"}}, 32768),
        ({"/v1/models": {"data": [{"id": "m", "owned_by": "library"}]}}, 32768),
        ({"/v1/models": {"data": [{"id": "m", "n_ctx": True, "context_length": -1}]}}, 32768),
    ],
    ids=["llama-server", "vLLM", "Ollama", "LM Studio", "TabbyAPI", "OpenRouter", "nothing",
         "nonsense", "Ollama, not loaded", "no numbers"],
)  # fmt: skip
async def test_the_context_in_use_is_found(gets: dict[str, Any], context: int) -> None:
    info, _ = await opened(gets)
    assert info.context == context
    configured, _ = await opened(gets, context=777)
    assert configured.context == 777


async def test_an_ollama_with_models_from_elsewhere_is_known_by_what_it_has_loaded() -> None:
    elsewhere = {"/v1/models": {"data": [{"id": "m:latest", "owned_by": "hf.co/someone"}]}}
    info, _ = await opened({**elsewhere, "/api/ps": OLLAMA["/api/ps"]})
    assert (info.context, info.parameters) == (4096, 7_600_000_000)


async def test_a_context_that_is_told_only_once_the_model_is_loaded_is_asked_for_again() -> None:
    unloaded = {"/v1/models": OLLAMA["/v1/models"], "/api/ps": {"models": []}}
    async with ModelServer(says_hi) as server:
        server.gets = unloaded
        config = Config(providers={"box": ProviderConfig(url=server.url)})
        conversation = await open_provider("box/m", config)
        assert conversation.limit == 32768
        server.gets = OLLAMA
        await collect(conversation)
        assert conversation.limit == 4096
        server.gets = LLAMA  # a context that is known is not asked for again
        await collect(conversation)
        assert conversation.limit == 4096
        await conversation.aclose()


@pytest.mark.parametrize(
    ("gets", "field"),
    [(LLAMA, "thinking_budget_tokens"), (VLLM, "thinking_token_budget"), (OPENROUTER, None)],
)
async def test_a_budget_of_thought_goes_to_servers_that_keep_it(
    gets: dict[str, Any], field: str | None
) -> None:
    _, request = await opened(gets)
    budgets = {key: value for key, value in request.items() if "budget" in key}
    assert budgets == ({field: 2048} if field else {})


async def test_the_size_of_a_servers_model_chooses_the_pack(tmp_path: Any) -> None:
    async with ModelServer(says_hi) as server:
        server.gets = LLAMA
        config = Config(model="box/m", providers={"box": ProviderConfig(url=server.url)})
        loaded = await load_model(config, root=tmp_path, session="s", trusted=False, plan=False)
        await loaded.conversation.aclose()
        server.gets = OLLAMA
        other = await load_model(config, root=tmp_path, session="s", trusted=False, plan=False)
        await other.conversation.aclose()
    assert (loaded.pack.name, other.pack.name) == ("small", "laguna")
    assert other.info.parameters == 7_600_000_000
