"""A conversation that the package's own client leads, so that its models check each message."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from acp import PROTOCOL_VERSION, schema, text_block
from acp.stdio import spawn_agent_process

from support.editor import PlayedModel
from support.model_server import Exchange, calls, says

EDIT = calls(("edit", '{"path": "a.txt", "old": "two", "new": "zwei"}'))


class Client:
    """Answers as `answers` says, and keeps what it is told."""

    def __init__(self) -> None:
        self.updates: list[tuple[str, Any]] = []
        self.answers: list[str | None] = []
        self.asked: list[schema.ToolCallUpdate] = []
        self.changed = asyncio.Event()

    def on_connect(self, conn: Any) -> None:
        pass

    async def request_permission(
        self, session_id: str, tool_call: Any, options: Any, **_: Any
    ) -> schema.RequestPermissionResponse:
        self.asked.append(tool_call)
        self.changed.set()
        kind = self.answers.pop(0)
        if kind is None:
            await asyncio.Event().wait()
        option = next(o.option_id for o in options if o.kind == kind)
        outcome = schema.AllowedOutcome(outcome="selected", option_id=option)
        return schema.RequestPermissionResponse(outcome=outcome)

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.updates.append((session_id, update))

    def text(self, session: str) -> str:
        chunks = [u for s, u in self.updates if s == session]
        return "".join(u.content.text for u in chunks if isinstance(u, schema.AgentMessageChunk))


async def test_approvals_cancelling_loading_and_two_sessions(
    shared_home: Path, model: PlayedModel, folder: Path
) -> None:
    client = Client()
    environment = {**os.environ, "LAGUNA_HOME": str(shared_home)}
    command = (sys.executable, "-m", "laguna_agent.cli", "acp")
    async with spawn_agent_process(
        lambda _: client, *command, env=environment, use_unstable_protocol=True
    ) as (agent, process):
        told = await agent.initialize(protocol_version=PROTOCOL_VERSION)
        assert told.protocol_version == PROTOCOL_VERSION
        first = (await agent.new_session(cwd=str(folder), mcp_servers=[])).session_id

        # an approval, a rejection
        model.play(EDIT, says("Done."))
        client.answers = ["allow_once"]
        done = await agent.prompt(session_id=first, prompt=[text_block("Change it")])
        assert done.stop_reason == "end_turn"
        assert "zwei" in (folder / "a.txt").read_text()
        model.play(calls(("write", '{"path": "b.txt", "content": "b"}')), says("Then not."))
        client.answers = ["reject_once"]
        await agent.prompt(session_id=first, prompt=[text_block("Write it")])
        assert not (folder / "b.txt").exists()
        assert client.text(first).endswith("Then not.")

        # cancelled at the question, while a second session works
        second = (await agent.new_session(cwd=str(folder), mcp_servers=[])).session_id

        async def by_task(exchange: Exchange) -> None:
            writes = "Write it" in str(exchange.body["messages"][-1]["content"])
            script = calls(("write", '{"path": "c.txt", "content": "c"}'))
            await (script if writes else says("Meanwhile."))(exchange)

        model.play(by_task)
        client.answers, client.changed = [None], asyncio.Event()
        waiting = asyncio.create_task(
            agent.prompt(session_id=first, prompt=[text_block("Write it")])
        )
        await client.changed.wait()
        meanwhile = await agent.prompt(session_id=second, prompt=[text_block("Say something")])
        assert meanwhile.stop_reason == "end_turn"
        assert client.text(second) == "Meanwhile."
        await agent.cancel(session_id=first)
        assert (await waiting).stop_reason == "cancelled"
        assert not (folder / "c.txt").exists()

        # closed, listed, loaded
        await agent.close_session(session_id=first)
        listed = await agent.list_sessions(cwd=str(folder))
        assert {one.session_id for one in listed.sessions} == {first, second}
        client.updates.clear()
        loaded = await agent.load_session(cwd=str(folder), session_id=first, mcp_servers=[])
        assert loaded.modes is not None
        assert client.text(first).startswith("Done.")
        model.play(says("I go on."))
        await agent.prompt(session_id=first, prompt=[text_block("Go on")])
        assert client.text(first).endswith("I go on.")
    assert process.returncode is not None
