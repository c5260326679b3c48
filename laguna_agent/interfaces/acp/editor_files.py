"""The file system of the editor, where it announces one: unsaved text, and writing into buffers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from acp import RequestError, schema

from laguna_agent.interfaces.acp.client import Client
from laguna_agent.log import log_error

T = TypeVar("T")
_PATIENCE_S = 10.0


class AcpFiles:
    """Asks the editor from the threads of tools; `loop` is where its answers arrive."""

    def __init__(self, client: Client, session_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._session_id = session_id
        self._loop = loop
        self._silent = False
        """Whether it left a question without an answer; then it gets no more."""

    def read(self, path: Path) -> str | None:
        """The text of a file with unsaved changes; None if the editor does not tell."""
        announced = self._client.capabilities.fs
        if self._silent or announced is None or not announced.read_text_file:
            return None
        params = schema.ReadTextFileRequest(session_id=self._session_id, path=str(path))
        asking = self._client.request("fs/read_text_file", params, schema.ReadTextFileResponse)
        answer = self._answer(asking)
        return answer.content if answer is not None else None

    def write(self, path: Path, text: str) -> bool:
        """Have the editor write a file; False if it does not."""
        announced = self._client.capabilities.fs
        if self._silent or announced is None or not announced.write_text_file:
            return False
        params = schema.WriteTextFileRequest(
            session_id=self._session_id, path=str(path), content=text
        )
        asking = self._client.request("fs/write_text_file", params, schema.WriteTextFileResponse)
        return self._answer(asking) is not None

    def _answer(self, asking: Coroutine[Any, Any, T]) -> T | None:
        """The editor's answer; None when it has none, or not in time."""
        future = asyncio.run_coroutine_threadsafe(asking, self._loop)
        try:
            return future.result(_PATIENCE_S)
        except (RequestError, ConnectionError, ValueError, TimeoutError) as error:
            self._silent = isinstance(error, TimeoutError)
            future.cancel()
            log_error("the editor's file system", error)
            return None
