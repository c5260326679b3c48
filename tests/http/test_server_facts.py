"""What real servers say of themselves, in their own forms."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from laguna_agent.agent.model_loading import load_model
from laguna_agent.config import Config, ProviderConfig
from laguna_agent.events import Notice
from laguna_agent.models.conversation import GenerateOptions
from laguna_agent.models.servers.providers import open_provider
from laguna_agent.models.servers.server_facts import ask
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


LM_STUDIO_V1 = {
    "/v1/models": {"data": [{"id": "m", "owned_by": "organization_owner"}, {"id": "n"}]},
    "/api/v1/models": {
        "models": [
            {"type": "llm", "key": "n", "max_context_length": 131072, "loaded_instances": []},
            {"type": "llm", "key": "maker/m", "params_string": "7B", "max_context_length": 131072,
             "loaded_instances": [
                 {"id": "other", "config": {"context_length": 8192}},
                 {"id": "m", "config": {"context_length": 6144, "flash_attention": True}},
             ]},
        ]
    },
}  # fmt: skip
LM_STUDIO_UNLOADED = {
    "/v1/models": {"data": [{"id": "m", "owned_by": "organization_owner"}, {"id": "n"}]},
    "/api/v1/models": {
        "models": [{"key": "m", "max_context_length": 16384, "loaded_instances": []}]
    },
}
OLLAMA_SHOWN = {
    "/v1/models": OLLAMA["/v1/models"],
    "/api/ps": {"models": []},
    "/api/show": {
        "parameters": 'num_ctx                12288\nstop                   "<|end|>"',
        "details": {"parameter_size": "7.6B"},
        "model_info": {"qwen2.context_length": 32768, "qwen2.block_count": 28},
    },
    "/api/version": {"version": "0.34.3"},
}
OLLAMA_SMALL = {
    **OLLAMA_SHOWN,
    "/api/show": {"parameters": "stop x", "model_info": {"phi.context_length": 2048}},
}
ROUTER = {
    "/v1/models": {
        "data": [
            {"id": "n", "owned_by": "llamacpp", "status": {"value": "unloaded"}},
            {"id": "org/M:Q4", "aliases": ["m"], "owned_by": "llamacpp",
             "status": {"value": "loaded", "args": ["llama-server", "-c", "20480"]}},
        ]
    },
    "/props": {"role": "router", "default_generation_settings": {"n_ctx": 0, "params": {}}},
    "/props?model=m&autoload=false": {
        "default_generation_settings": {"n_ctx": 10240, "params": {}}, "build_info": "b9094-0c1e",
    },
}  # fmt: skip
ROUTER_UNLOADED = {
    "/v1/models": {
        "data": [
            {"id": "n", "owned_by": "llamacpp"},
            {"id": "m", "owned_by": "llamacpp",
             "status": {"value": "unloaded", "args": ["llama-server", "--ctx-size", "8192"]}},
        ]
    },
    "/props": {"role": "router", "default_generation_settings": {"n_ctx": 0}},
}  # fmt: skip
SGLANG = {
    "/v1/models": {"data": [{"id": "m", "owned_by": "sglang"}]},
    "/server_info": {"version": "0.5.20", "context_length": 40960, "max_total_num_tokens": 9},
}
OPENROUTER_LESS = {
    "/v1/models": {
        "data": [
            {"id": "m", "context_length": 262144, "top_provider": {"context_length": 131072}},
            {"id": "n"},
        ]
    }
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
        (OPENROUTER, 65536), (OPENROUTER_LESS, 131072), (LM_STUDIO_V1, 6144),
        (LM_STUDIO_UNLOADED, 16384), (OLLAMA_SHOWN, 12288), (OLLAMA_SMALL, 2048), (ROUTER, 10240),
        (ROUTER_UNLOADED, 8192), (SGLANG, 40960), ({}, 32768),
        ({"/v1/models": {"data": "?"}}, 32768),
        ({"/v1/models": {"data": [{"id": "m", "owned_by": "library"}]}}, 32768),
        ({"/v1/models": {"data": [{"id": "m", "n_ctx": True, "context_length": -1}]}}, 32768),
    ],
    ids=["llama-server", "vLLM", "Ollama", "LM Studio 0.3", "TabbyAPI", "OpenRouter",
         "OpenRouter, served with less", "LM Studio", "LM Studio, not loaded", "Ollama, shown",
         "Ollama, small model", "several models", "several models, not loaded", "SGLang", "nothing",
         "nonsense", "Ollama, not loaded", "no numbers"],
)  # fmt: skip
async def test_the_context_in_use_is_found(gets: dict[str, Any], context: int) -> None:
    info, _ = await opened(gets)
    assert info.context == context


async def test_a_configured_context_is_the_context() -> None:
    info, _ = await opened(LLAMA, context=777)
    assert info.context == 777


@pytest.mark.parametrize(
    ("gets", "server", "version"),
    [
        (ROUTER, "llama-server", "b9094-0c1e"),
        ({**VLLM, "/version": {"version": "0.30.1"}}, "vLLM", "0.30.1"),
        (SGLANG, "SGLang", "0.5.20"),
        (OLLAMA_SHOWN, "Ollama", "0.34.3"),
        (LM_STUDIO_V1, "LM Studio", ""),
        (OPENROUTER, "unknown", ""),
    ],
)
async def test_a_server_and_its_version_are_known(
    gets: dict[str, Any], server: str, version: str
) -> None:
    async with ModelServer(says_hi) as running:
        running.gets = gets
        async with httpx.AsyncClient() as client:
            facts = await ask(client, running.url, "m")
    assert (facts.server.name, facts.version) == (server, version)


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
        said = [e.text for e in await collect(conversation) if isinstance(e, Notice)]
        assert conversation.limit == 4096
        raised = "start Ollama with OLLAMA_CONTEXT_LENGTH=32768"
        assert said == [f"The server's context is 4,096 tokens. For a larger context {raised}."]
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
