"""When a request is made again, after how long, and when that is given up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from laguna_agent.errors import LagunaError, ModelError
from laguna_agent.models.servers.refusals import (
    BusyError,
    RefusedRequestError,
    SilentError,
    StreamBrokenError,
    through_proxy,
)
from laguna_agent.models.servers.sse import reason_of

_RETRIES = 3
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds."""

    connect_s: float = 10.0
    first_s: float = 900.0
    """A silence before the reply begins, while the server reads the prompt, and besides"""
    per_token_s: float = 0.1
    """for each token of the prompt: a large model on a slow machine reads ten a second."""
    stall_s: float = 300.0
    """A silence within a reply. Some servers send a call only when it is complete."""
    loading_s: float = 300.0
    """In all, for a server that reports that it is loading or busy."""
    backoff: Callable[[float], Awaitable[None]] = asyncio.sleep


class Tries:
    """The tries of one request."""

    def __init__(self, timeouts: Timeouts, url: str, proxy: str | None) -> None:
        self._timeouts = timeouts
        self._url, self._proxy = url, proxy
        self._waited = 0.0
        self._failures = 0
        self.count = 0
        """Requests that failed so far."""

    def pause_after(self, error: Exception, *, begun: bool) -> float:
        """Seconds until the next try; raises the error for people when there is none.

        `begun`: the failed reply had begun, so the server had read the prompt.
        """
        self.count += 1
        if isinstance(error, BusyError):
            return self._pause_of_busy(error)
        final = hopeless(error, self._url, self._proxy)
        if final is not None:
            raise final from error
        if isinstance(error, SilentError) and (not begun or self._failures):
            # From the beginning it would take as long again.
            raise ModelError(
                f"the model server gave no reply: {error}",
                hint="If it still reads or writes then, raise `timeout` of the provider in "
                "config.toml (seconds).",
            ) from error
        self._failures += 1
        if self._failures > _RETRIES:
            raise self._gave_up(error) from error
        return float(0.5 * 2 ** (self._failures - 1))

    @property
    def last(self) -> bool:
        """Whether a failure of the next request is the last one."""
        return self._failures == _RETRIES

    def _pause_of_busy(self, error: BusyError) -> float:
        pause = error.wait_s or min(2.0 * 1.5 ** (self.count - 1), _LONGEST_PAUSE_S)
        self._waited += pause
        if self._waited > self._timeouts.loading_s:
            asked = f" (it asks to wait {error.wait_s:.0f} s)" if error.wait_s else ""
            raise ModelError(
                f"the model server at {self._url} is still busy: {error}{asked}",
                hint="Wait until it is ready, or look at its log.",
            ) from error
        return pause

    def reason(self, error: Exception) -> str:
        """What happened, in a clause."""
        if isinstance(error, BusyError):
            return f"the server is busy: {error}"
        if isinstance(error, StreamBrokenError):
            return str(error)
        if isinstance(error, RefusedRequestError):
            return f"the server failed with HTTP {error.status}: {error}".removesuffix(": ")
        place = f"the proxy {self._proxy}" if self._at_proxy(error) else self._url
        return unreachable(place, reason_of(error))

    def _at_proxy(self, error: Exception) -> bool:
        """Whether the connection to the proxy failed, not that to the server."""
        return bool(self._proxy) and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)

    def _gave_up(self, error: Exception) -> ModelError:
        hint = "Is the server running? `url` of the provider in config.toml is its address."
        if self._at_proxy(error):
            hint = "If the server can be reached directly, name its host in NO_PROXY."
        if isinstance(error, StreamBrokenError | RefusedRequestError):
            hint = "The server's log may say why."
        return ModelError(f"the model server gave no reply: {self.reason(error)}", hint=hint)


def unreachable(place: str, reason: str) -> str:
    """Why nothing could be sent to `place`, in a clause; `reason` is the client's word for it."""
    if "refused" in reason.lower() or "all connection attempts failed" in reason.lower():
        return f"nothing listens at {place}"
    return f"no connection to {place}: {reason}"


def hopeless(error: Exception, url: str, proxy: str | None) -> LagunaError | None:
    """The error for people of what no second try changes: certificates, proxies."""
    if isinstance(error, httpx.ProxyError):
        return through_proxy(proxy or "", f"answered {reason_of(error)}")
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        why = re.sub(r"^.*certificate verify failed: |\s*\(_ssl.*$", "", text)
        if "hostname" in why.lower() or "ip address" in why.lower():
            hint = "`url` of the provider must have the name that the certificate is for."
        else:
            hint = (
                "If the server is yours, set `ca` of the provider in config.toml (or SSL_CERT_FILE)"
                " to a PEM file with its certificate, or with the one that signed it."
            )
        return ModelError(f"the certificate of {url} is not trusted: {why}", hint=hint)
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return ModelError(
            f"{url} does not speak https", hint="`url` of the provider begins with http:// then."
        )
    return None
