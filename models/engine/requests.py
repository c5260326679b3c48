"""From a frame of a client to an order for the engine."""

from __future__ import annotations

from laguna_agent.models.chat.chat_format import Grammar
from laguna_agent.models.conversation import Sampling
from laguna_agent.models.engine import wire
from laguna_agent.models.engine.generation import Order


def order_of(header: wire.Header, payload: bytes, session: str) -> Order:
    """The order of a frame; `session` is what it is named when it has no name.

    Raises KeyError, TypeError, ValueError or WireError when the frame is not as it should be.
    """
    grammar = header.get("grammar")
    if grammar is not None:
        grammar = Grammar(
            grammar["gbnf"],
            grammar["root"],
            grammar["lazy"],
            tuple(grammar["trigger_tokens"]),
            tuple(grammar["trigger_patterns"]),
        )
    budget = header.get("thinking_budget")
    return Order(
        tokens=wire.unpack_tokens(payload),
        sampling=Sampling.model_validate(header["sampling"]),
        max_tokens=int(header["max_tokens"]),
        grammar=grammar,
        stops=tuple(header["stops"]),
        marks=tuple(header["marks"]),
        static=int(header["static"]),
        think_close=tuple(header["think_close"]),
        thinking_budget=None if budget is None else int(budget),
        logprobs=bool(header["logprobs"]),
        session=header["session"] or session,
        snapshot=bool(header["snapshot"]),
        speculate=bool(header["speculate"]),
        exact=header["speculate"] == "exact",
        resume=int(header["resume"]),
        bare=bool(header.get("bare")),
        kept=int(header.get("kept", 0)),
        states=bool(header.get("states")),
        score=bool(header.get("score")),
    )
