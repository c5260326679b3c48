"""The frames that an engine sends while a request runs."""

from __future__ import annotations

from typing import Protocol

from laguna_agent.models.engine import wire
from laguna_agent.models.engine.examination import Arrays, Report
from laguna_agent.models.engine.generation import Sinks


class Send(Protocol):
    """Sends a frame to the client of a request."""

    def __call__(self, header: wire.Header, payload: bytes = b"") -> None:
        """Send it without blocking."""


def sinks(send: Send, number: int) -> Sinks:
    """Where a generation reports: frames of request `number`."""

    def progress(done: int, total: int, reused: int, rate: float) -> None:
        send(
            {
                "type": "progress",
                "id": number,
                "done": done,
                "total": total,
                "reused": reused,
                "rate": round(rate, 3),
            }
        )

    def tokens(ids: list[int], text: str, logprobs: list[float]) -> None:
        send({"type": "tokens", "id": number, "ids": ids, "text": text, "logprobs": logprobs})

    return Sinks(progress, tokens)


def examined(send: Send, number: int) -> Report:
    """Where an examination reports: frames of request `number`."""

    def report(facts: wire.Header, arrays: Arrays) -> None:
        described, payload = wire.pack_arrays(arrays)
        send({"type": "examined", "id": number, **facts, **described}, payload)

    return report
