"""An editor that talks to a real `laguna acp` over its standard streams, and its model."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.model_server import ModelServer, Script

Message = dict[str, Any]
_PATIENCE = 120.0


class Editor:
    """Sends requests and keeps all that comes meanwhile. `answers` are by method; a callable gets
    the parameters."""

    def __init__(
        self, home: Path, *, capabilities: Message | None = None, start: bool = True
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "laguna_agent.cli", "acp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "LAGUNA_HOME": str(home)},
            cwd=home,
        )
        self.answers: dict[str, Any] = {}
        self.seen: list[Message] = []
        """Every message in order."""
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()
        if start:
            params = {"protocolVersion": 1, "clientCapabilities": capabilities or {}}
            self.initialized = self.request("initialize", params)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    # --- sending ----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data + b"\n")
        self.process.stdin.flush()

    def send(self, method: str, params: Any) -> int:
        """Send a request; returns its id."""
        self._number += 1
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        self.write(json.dumps(message).encode())
        return self._number

    def notify(self, method: str, params: Any) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())

    def request(self, method: str, params: Any) -> Any:
        """The result of a request; raises what is wrong."""
        answer = self.answer(self.send(method, params))
        if "error" in answer:
            raise RequestFailedError(answer["error"])
        return answer["result"]

    def error(self, method: str, params: Any) -> Message:
        """The error of a request that fails."""
        answer = self.answer(self.send(method, params))
        assert "error" in answer, answer
        error: Message = answer["error"]
        return error

    # --- receiving --------------------------------------------------------------------------

    def answer(self, number: int | None) -> Message:
        """The answer to a request, which may have come already."""

        def wanted(message: Message) -> bool:
            return "method" not in message and message.get("id") == number

        here = [message for message in self.seen if wanted(message)]
        return here[0] if here else self.until(wanted)

    def until(self, wanted: Callable[[Message], bool]) -> Message:
        """Read up to a message, answering the agent's requests."""
        while True:
            line = self._lines.get(timeout=_PATIENCE)
            assert line, "the agent has ended"
            message: Message = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            self.seen.append(message)
            if "method" in message and "id" in message:
                self._answer(message)
            if wanted(message):
                return message

    def _answer(self, message: Message) -> None:
        answer = self.answers.get(message["method"], _first_option)
        result = answer(message["params"]) if callable(answer) else answer
        if result is None:  # never answered
            return
        key = "error" if "code" in result else "result"
        self.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], key: result}).encode())

    def updates(self, session: str, kind: str = "") -> list[Message]:
        """Updates of a session so far, all or of one kind."""
        found = [
            m["params"]["update"]
            for m in self.seen
            if m.get("method") == "session/update" and m["params"]["sessionId"] == session
        ]
        return [u for u in found if not kind or u["sessionUpdate"] == kind]

    def asked(self, method: str = "") -> list[Message]:
        """The agent's requests so far."""
        made = [m for m in self.seen if "method" in m and "id" in m]
        return [m["params"] for m in made if not method or m["method"] == method]

    def text(self, session: str, kind: str = "agent_message_chunk") -> str:
        return "".join(u["content"]["text"] for u in self.updates(session, kind))

    # --- usual requests ---------------------------------------------------------------------

    def new(self, folder: Path, **params: Any) -> str:
        made = self.request("session/new", {"cwd": str(folder), "mcpServers": [], **params})
        session: str = made["sessionId"]
        return session

    def prompt(self, session: str, *blocks: Any) -> Message:
        """The answer to a prompt of texts and other blocks."""
        answer = self.answer(self.send_prompt(session, *blocks))
        if "error" in answer:
            raise RequestFailedError(answer["error"])
        result: Message = answer["result"]
        return result

    def send_prompt(self, session: str, *blocks: Any) -> int:
        prompt = [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]
        return self.send("session/prompt", {"sessionId": session, "prompt": prompt})

    def close(self) -> int:
        """Close the agent's input and wait for its end; returns its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(_PATIENCE)


class RequestFailedError(Exception):
    """The agent answered with an error."""


def _first_option(params: Message) -> Message:
    return {"outcome": {"outcome": "selected", "optionId": params["options"][0]["optionId"]}}


class PlayedModel:
    """A model server in a thread, whose replies a test sets with `play`."""

    def __init__(self) -> None:
        self.server = ModelServer()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def play(self, *scripts: Script) -> None:
        """Answer with these from now on."""
        self.server.requests.clear()
        self.server.scripts = list(scripts)

    @property
    def messages(self) -> list[list[Message]]:
        """The messages of each request since `play`."""
        return [request["messages"] for request in self.server.requests]

    @contextmanager
    def serving(self, home: Path) -> Iterator[PlayedModel]:
        """Serve, as the models `s/m` and `s/other` of the laguna in `home`."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.server.__aenter__(), self.loop).result()
        config = home / "config" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f'model = "s/m"\n[providers.s]\nurl = "{self.server.url}"\n')
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self.server.__aexit__(), self.loop).result()
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
