"""The interface with a session that streams 10,000 messages; `tui.py memory` runs it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from laguna_agent.events import Event, Reply, TextDelta, TurnFinished, UserMessage
from laguna_agent.interfaces.tui.system import latency

latency.tune()
from laguna_agent.interfaces.tui.app import LagunaApp  # noqa: E402 (after its settings)

WORDS = "the cart adds **each price** times its `count` and takes the voucher off\n\n- it rounds\n"


class Talker:
    """As much of a session as the interface needs."""

    busy = False

    def __init__(self, root: Path, on_event: Callable[[Event], None]) -> None:
        meta = SimpleNamespace(title="")
        self.root = root
        self.on_event = on_event
        self.trajectory = SimpleNamespace(id="talker", directory=root, last_seq=0, meta=meta)
        self.gate = SimpleNamespace(mode="ask", plan=False)
        self.conversation_state = SimpleNamespace(plan=[], user_messages=[])
        self.info = SimpleNamespace(name="bench/server", parameters=0, quantization="", context=1)
        self.pack = SimpleNamespace(stamp=lambda: None)
        self.conversation = SimpleNamespace(used=1, limit=32_768)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

    async def aclose(self) -> None:
        """Nothing is open."""

    async def turn(self, text: str) -> TurnFinished:
        """As many messages as asked for, each in pieces."""
        self.on_event(UserMessage(text=text))
        for number in range(int(text)):
            message = f"message {number}: {WORDS}"
            for at in range(0, len(message), 12):
                self.on_event(TextDelta(text=message[at : at + 12]))
            self.on_event(Reply(text=message))
            await asyncio.sleep(0.005)
        finished = TurnFinished(status="done", summary="that was all")
        self.on_event(finished)
        return finished


async def open_session(settings: Any, *, on_event: Callable[[Event], None], **_: Any) -> Any:
    """In the place of `Session.open`."""
    return Talker(Path.cwd(), on_event)


if __name__ == "__main__":
    settings: Any = SimpleNamespace(trusted=True, cwd=Path.cwd())
    sys.exit(LagunaApp(lambda: settings, open_session=open_session).run())
