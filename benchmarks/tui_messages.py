"""The interface with a session that streams as many messages as asked for.

`tui.py memory` runs it; the session is a real one whose model says nothing, so nothing leaves here.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from laguna_agent.interfaces.tui.system import latency

latency.tune()
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from laguna_agent.agent.model_loading import LoadedModel, pack_directories  # noqa: E402
from laguna_agent.agent.recorder import OnEvent  # noqa: E402
from laguna_agent.agent.session import Session  # noqa: E402
from laguna_agent.agent.settings import Settings  # noqa: E402
from laguna_agent.config import load_config  # noqa: E402
from laguna_agent.events import Reply, TextDelta, TurnFinished, UserMessage  # noqa: E402
from laguna_agent.interfaces.tui.app import LagunaApp  # noqa: E402
from laguna_agent.prompts.loader.pack import load_pack  # noqa: E402
from support.scripted import ScriptedConversation  # noqa: E402

WORDS = "the cart adds **each price** times its `count` and takes the voucher off\n\n- it rounds\n"
MODEL = "scripted"


async def load(config: Any, *, root: Path, trusted: bool, **_: Any) -> LoadedModel:
    """A model that is there at once."""
    directories = pack_directories(root, trusted=trusted)
    conversation = ScriptedConversation([])
    pack = load_pack("base", model_name=MODEL, directories=directories)
    return LoadedModel(conversation, conversation.info, pack)


class Talker(Session):
    """A session whose turns stream without a model."""

    on_event: OnEvent

    async def turn(self, text: str, *_: Any, **__: Any) -> TurnFinished:
        """As many messages as `text` says, each in pieces."""
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


async def open_session(settings: Settings, *, on_event: OnEvent, **options: Any) -> Talker:
    """In the place of `Session.open`."""
    session = await Talker.open(settings, on_event=on_event, **{**options, "load": load})
    assert isinstance(session, Talker)
    session.on_event = on_event
    return session


def settings() -> Settings:
    """Those of a session in the working directory."""
    return Settings(cwd=Path.cwd(), config=load_config(), mode="ask", interactive=True)


if __name__ == "__main__":
    sys.exit(LagunaApp(settings, open_session=open_session).run())
