"""An HTTP server on loopback that serves bytes, well or badly, and records the requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """Serves `data` at every path. The attributes set how it misbehaves."""

    data: bytes
    files: dict[str, bytes] = field(default_factory=dict)
    """If given, what is served, by the name that a path ends in; anything else is not there."""
    ranges: bool = True
    knows_head: bool = True
    etag: str = ""
    status: int = 200
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers, before `status` applies again."""
    drops: list[int] = field(default_factory=list)
    """Bytes of body after which the connections of the next answers end."""
    lengths: bool = True
    content_type: str = "application/octet-stream"
    hold: threading.Event | None = None
    """If given, the body's second half is sent once this event is set."""
    asked: list[dict[str, str]] = field(default_factory=list)
    redirect: str = ""
    """The target of a redirect for every request."""
    redirects: dict[str, str] = field(default_factory=dict)
    """Targets of redirects by the name that a path ends in."""
    url: str = ""


@contextmanager
def serving(data: bytes) -> Iterator[FileServer]:
    """A running server; `url` is the address of a file called model.gguf."""
    state = FileServer(data)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.asked.append(
                {
                    "method": self.command,
                    "path": self.path,
                    **{k.lower(): v for k, v in self.headers.items()},
                }
            )
            name = self.path.partition("?")[0].rpartition("/")[2]
            if target := state.redirect or state.redirects.get(name):
                self.send_response(302)
                self.send_header("Location", target)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            status = state.statuses.pop(0) if state.statuses else state.status
            if status != 200:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = state.data
            if state.files:
                data = state.files.get(name, b"")
            if not data:
                self.send_error(404)
                return
            start = 0
            asked = self.headers.get("Range")
            condition = self.headers.get("If-Range")
            if asked and state.ranges and (condition is None or condition == state.etag):
                start = int(asked.removeprefix("bytes=").rstrip("-"))
            body = data[start:]
            self.send_response(206 if start else 200)
            if state.lengths:
                self.send_header("Content-Length", str(len(body)))
            else:
                self.send_header("Connection", "close")
            if start:
                total = len(data)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if state.etag:
                self.send_header("ETag", state.etag)
            self.send_header("Content-Type", state.content_type)
            self.end_headers()
            if self.command == "HEAD":
                return
            if state.drops:
                self.wfile.write(body[: state.drops.pop(0)])
                self.close_connection = True
                return
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.wfile.flush()
            if state.hold:
                state.hold.wait(30)
            self.wfile.write(body[half:])

        def do_HEAD(self) -> None:
            if state.knows_head:
                self.do_GET()
            else:
                self.send_error(501)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/model.gguf"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        if state.hold:
            state.hold.set()
        server.shutdown()
        server.server_close()
