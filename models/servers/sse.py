"""Reads the answers of a chat completions server: event streams, whole answers, refusals.

Lines end at newline bytes only: a text may hold U+2028 and the like, at which `splitlines` cuts.
httpx-sse splits lines right too, but does not serve: it hides the comments that servers send to
keep a connection alive, drops llama-server's `error:` lines and a last event without a blank line,
and buffers lines of any length.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx

from laguna_agent.errors import ContextFullError, ModelError

_MAX_LINE = 64 << 20
"""Most bytes of one event."""


class StreamBrokenError(Exception):
    """The answer broke off; the message says how. Sending the request again may help."""


class BusyError(Exception):
    """The server is loading or overloaded. `wait_s` is the delay it asked for, if any."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class RefusedOptionError(Exception):
    """The server does not know an option that only some servers know."""


async def events(
    response: httpx.Response, *, first_s: float, stall_s: float
) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON objects of an event stream, or the one object of a plain answer.

    `first_s` and `stall_s` are the longest silences, in seconds, before the first byte (while the
    prompt is processed) and after it. Raises StreamBrokenError.
    """
    kind = response.headers.get("content-type", "")
    if "json" in kind and "event-stream" not in kind:
        body = b"".join([part async for part in _parts(response, first_s, stall_s)])
        yield _object(body)
        return
    ended = False
    async for line in _lines(response, first_s, stall_s):
        name, _, value = line.partition(b":")
        value = value.strip()
        if name not in (b"data", b"error") or not value:
            continue
        if value == b"[DONE]":
            ended = True
            break
        event = _object(value)
        yield event
        ended = ended or _has_finished(event)
    if not ended:
        raise StreamBrokenError("the server closed the connection in the middle of a reply")


def _has_finished(event: Mapping[str, Any]) -> bool:
    choices = event.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, Mapping) and choice.get("finish_reason") for choice in choices
    )


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StreamBrokenError(f"the server sent bad JSON ({_excerpt(data)})") from error
    if not isinstance(value, dict):
        raise StreamBrokenError(f"the server sent something that is not a reply ({_excerpt(data)})")
    return value


def _excerpt(data: bytes) -> str:
    text = data[:60].decode("utf-8", "replace")
    return f"{text}…" if len(data) > 60 else text


async def _lines(
    response: httpx.Response, first_s: float, stall_s: float
) -> AsyncGenerator[bytes, None]:
    pending = bytearray()
    async for part in _parts(response, first_s, stall_s):
        at = len(pending)
        pending += part
        while (end := pending.find(b"\n", at)) >= 0:
            yield bytes(pending[:end]).rstrip(b"\r")
            del pending[: end + 1]
            at = 0
        if len(pending) > _MAX_LINE:
            raise StreamBrokenError("the server sent an event of more than 64 MiB")
    if pending:
        yield bytes(pending)


async def _parts(
    response: httpx.Response, first_s: float, stall_s: float
) -> AsyncGenerator[bytes, None]:
    parts = response.aiter_bytes().__aiter__()
    timeout = first_s
    while True:
        try:
            async with asyncio.timeout(timeout):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise StreamBrokenError(f"the server sent nothing for {timeout:g} s") from None
        except httpx.HTTPError as error:
            raise StreamBrokenError(f"the connection broke: {reason_of(error)}") from error
        yield part
        timeout = stall_s


def reason_of(error: Exception) -> str:
    """A transport error in a few words."""
    text = str(error).strip()
    return text or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def refusal(status: int, body: bytes, headers: Mapping[str, str], *, extras: bool) -> Exception:
    """The exception for an answer other than 200.

    `extras`: the request had options that not every server knows.
    """
    message, kind, error = _message(body)
    full = _context_full(message, kind, error)
    if full is not None:
        return full
    if status in (429, 502, 503, 504):
        return BusyError(message or f"HTTP {status}", _retry_after(headers))
    if status in (400, 422) and extras and _names_an_option(message):
        return RefusedOptionError(message)
    hints = {
        401: "Check the key: `key_env` of the provider names the variable that holds it.",
        403: "Check the key: `key_env` of the provider names the variable that holds it.",
        404: "Check `url` of the provider and the model's name.",
    }
    detail = f": {message}" if message else ""
    return ModelError(f"the model server answered HTTP {status}{detail}", hint=hints.get(status))


def refusal_in_stream(event: Mapping[str, Any]) -> Exception | None:
    """The exception for an error event in a stream; None for any other event."""
    if not event.get("error"):
        return None
    message, kind, error = _message(json.dumps(event).encode())
    full = _context_full(message, kind, error)
    return full or StreamBrokenError(f"the server failed: {message or 'no reason given'}")


def _message(body: bytes) -> tuple[str, str, Mapping[str, Any]]:
    """(message in one line, type, error object) of an error body."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        text = re.sub(r"<[^>]*>", " ", body[:4000].decode("utf-8", "replace"))
        return _one_line(text), "", {}
    error = value.get("error", value) if isinstance(value, Mapping) else value
    if isinstance(error, Mapping):
        message = error.get("message") or error.get("detail") or ""
        kind = f"{error.get('type', '')} {error.get('code', '')}"
        return _one_line(str(message)), kind, error
    return _one_line(str(error)), "", {}


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:199] + "…"


def _context_full(message: str, kind: str, error: Mapping[str, Any]) -> ContextFullError | None:
    text = f"{kind} {message}".lower()
    signs = (
        "exceed_context_size",
        "context_length_exceeded",
        "context length",
        "context size",
        "context window",
        "maximum context",
        "prompt is too long",
        "too many tokens",
    )
    if not any(sign in text for sign in signs):
        return None
    used, limit = error.get("n_prompt_tokens"), error.get("n_ctx")
    if not (isinstance(used, int) and isinstance(limit, int)):
        numbers = [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]{2,}", message)]
        used, limit = max(numbers, default=0), min(numbers, default=0)
    return ContextFullError(used, max(used - limit, 1), limit)


def _names_an_option(message: str) -> bool:
    words = ("unknown", "unrecognized", "unsupported", "not permitted", "unexpected", "extra")
    return any(word in message.lower() for word in words)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers.get("retry-after", ""))
    except ValueError:
        return None
