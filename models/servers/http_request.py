"""The parts of a request to a chat completions server, and their size."""

from __future__ import annotations

import json
from typing import Any

from laguna_agent.events import PrefillProgress, Reply
from laguna_agent.models.conversation import GenerateOptions
from laguna_agent.models.servers.native_calls import is_strict

_OF_STREAMS = ("stream_options", "return_progress")


def size(value: Any) -> int:
    """Characters of a message or a list of declarations, without its keys."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(size(item) + 8 for item in value.values())
    if isinstance(value, list):
        return sum(map(size, value))
    return 4


def extras(options: GenerateOptions) -> dict[str, Any]:
    """Options that llama-server and vLLM know and strict servers refuse."""
    sampling = options.sampling
    extras: dict[str, Any] = {
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "cache_prompt": True,
        "return_progress": True,
        "chat_template_kwargs": {"enable_thinking": options.thinking},
    }
    if sampling.repeat_penalty != 1.0:
        extras["repeat_penalty"] = extras["repetition_penalty"] = sampling.repeat_penalty
    if options.grammar:
        extras["grammar"] = options.grammar
    return extras


def unstreamed(body: dict[str, Any]) -> dict[str, Any]:
    """A request for the whole reply at once: servers that break a stream off before it begins (the
    one of llama-cpp-python, at a full context) say then why."""
    kept = {key: value for key, value in body.items() if key not in _OF_STREAMS}
    return {**kept, "stream": False}


def progress(event: dict[str, Any]) -> PrefillProgress | None:
    """The progress in an event of llama-server; None when it has none."""
    progress = event.get("prompt_progress")
    if not isinstance(progress, dict):
        return None
    figures = [progress.get(key) for key in ("total", "cache", "processed", "time_ms")]
    if not all(isinstance(figure, int | float) for figure in figures):
        return None
    total, cached, processed, millis = (float(figure or 0) for figure in figures)
    done = max(processed - cached, 0.0)
    rate = done / millis * 1000 if millis > 0 else 0.0
    left = max(total - processed, 0.0)
    return PrefillProgress(
        done=int(done),
        total=int(total - cached),
        reused=int(cached),
        rate=rate,
        eta_s=left / rate if rate else 0.0,
    )


def reply_message(reply: Reply) -> dict[str, Any] | None:
    """A reply as a message to send back, its reasoning and calls as they came.

    None for one without text and calls: strict servers refuse an empty message for ever.
    """
    if not reply.text.strip() and not reply.tool_calls:
        return None
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.thinking:
        message["reasoning_content"] = reply.thinking
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    # A record may have it in the form of another chat format.
                    "arguments": call.raw
                    if is_strict(call.raw)
                    else json.dumps(call.arguments, ensure_ascii=False),
                },
            }
            for call in reply.tool_calls
        ]
    return message
