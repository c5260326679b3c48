"""Reads the answers of a chat completions server: event streams and whole answers.

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
from dataclasses import dataclass
from typing import Any

import httpx

from laguna_agent.models.servers.refusals import NotAReplyError, SilentError, StreamBrokenError

_MOST_BYTES = 64 << 20
"""Bytes of the longest answer that is read, its comments included."""


@dataclass
class Silence:
    """How long a silence of the server is waited for, in seconds; may change while it is read."""

    seconds: float


async def events(
    response: httpx.Response, silence: Silence
) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON objects of an event stream, or the one object of a plain answer.

    Any byte ends a silence: the comments too that servers send while they read a prompt. Raises
    StreamBrokenError, and NotAReplyError.
    """
    kind = response.headers.get("content-type", "")
    if "text/html" in kind:
        raise NotAReplyError("a web page")
    if "json" in kind and "event-stream" not in kind:
        yield _whole(b"".join([part async for part in _parts(response, silence)]))
        return
    lines = _lines(response, silence)
    ended, first, named, begun = False, True, b"", b""
    async for line in lines:
        if first and line.strip():
            first, line = False, line.removeprefix(b"\xef\xbb\xbf")
            if line.lstrip().startswith(b"<"):
                raise NotAReplyError("a web page")
            if line.lstrip().startswith(b"{"):  # a whole answer, whatever its type says
                yield _whole(b"\n".join([line, *[rest async for rest in lines]]))
                return
        name, _, value = line.partition(b":")
        value = value.strip()
        if name == b"event":
            named = value
        if name not in (b"data", b"error") or not value:
            if not line and begun:
                raise _bad_json(begun)
            named = named if line else b""
            continue
        if value == b"[DONE]":
            ended = True
            break
        begun = begun + b"\n" + value if begun else value
        if not begun.endswith(b"}"):  # it goes on in the next line
            continue
        event, begun = _object(begun), b""
        if (b"error" in (name, named)) and "error" not in event:
            event = {"error": event}
        yield event
        ended = ended or _has_finished(event)
    if begun:
        raise _bad_json(begun)
    if not ended:
        raise StreamBrokenError("the server closed the connection in the middle of a reply")


def _whole(body: bytes) -> dict[str, Any]:
    """The answer in a body that is no stream."""
    answer = _object(body)
    if not any(key == "choices" or key.startswith("error") for key in answer):
        raise NotAReplyError(_excerpt(body))
    return answer


def _has_finished(event: Mapping[str, Any]) -> bool:
    choices = event.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, Mapping) and choice.get("finish_reason") for choice in choices
    )


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad_json(data) from error
    if not isinstance(value, dict):
        raise StreamBrokenError(f"the server sent something that is not a reply ({_excerpt(data)})")
    return value


def _bad_json(data: bytes) -> StreamBrokenError:
    return StreamBrokenError(f"the server sent bad JSON ({_excerpt(data)})")


def _excerpt(data: bytes) -> str:
    text = data[:60].decode("utf-8", "replace")
    return f"{text}…" if len(data) > 60 else text


async def _lines(response: httpx.Response, silence: Silence) -> AsyncGenerator[bytes, None]:
    pending = bytearray()
    async for part in _parts(response, silence):
        at = len(pending)
        pending += part
        while (end := pending.find(b"\n", at)) >= 0:
            yield bytes(pending[:end]).rstrip(b"\r")
            del pending[: end + 1]
            at = 0
    if pending:
        yield bytes(pending)


async def _parts(response: httpx.Response, silence: Silence) -> AsyncGenerator[bytes, None]:
    parts = response.aiter_bytes().__aiter__()
    total = 0
    while True:
        try:
            async with asyncio.timeout(silence.seconds):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise SilentError(f"the server sent nothing for {silence.seconds:g} s") from None
        except httpx.HTTPError as error:
            raise StreamBrokenError(f"the connection broke: {reason_of(error)}") from error
        total += len(part)
        if total > _MOST_BYTES:
            raise StreamBrokenError("the server sent an answer of more than 64 MiB")
        yield part


def reason_of(error: Exception) -> str:
    """A transport error in a few words."""
    text = str(error).strip()
    return text or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
