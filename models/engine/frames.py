"""The frames of an engine as a client reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from laguna_agent.errors import ModelError
from laguna_agent.events import CacheMiss, PrefillProgress, Timings, Usage
from laguna_agent.models.engine import wire
from laguna_agent.models.engine.connection import Frame
from laguna_agent.models.engine.interface import EngineEvent, Finished, Tokens, Written

if TYPE_CHECKING:
    from numpy.typing import NDArray


def joined(parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The arrays of several frames, one behind the other."""
    import numpy as np  # not needed by those who only generate

    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def event_of(frame: Frame) -> EngineEvent:
    """What a frame of a running request says. Raises ModelError when the request failed."""
    header = frame.header
    match header["type"]:
        case "progress":
            rate = header["rate"]
            left = header["total"] - header["done"]
            return PrefillProgress(
                done=header["done"],
                total=header["total"],
                reused=header["reused"],
                rate=rate,
                eta_s=left / rate if rate else 0.0,
            )
        case "tokens":
            return Tokens(tuple(header["ids"]), header["text"], tuple(header["logprobs"]))
        case "failed":
            raise ModelError(header["message"], hint=header["hint"])
    miss = header.get("miss")
    return Finished(
        reason=header["reason"],
        usage=Usage(**header.get("usage", {})),
        timings=Timings(**header.get("timings", {})),
        ids=tuple(wire.unpack_tokens(frame.payload)),
        ended=header.get("ended", False),
        miss=CacheMiss(**miss) if miss else None,
        counters=header.get("counters", {}),
        measured=header.get("measured", {}),
        others=tuple(
            Written(tuple(one["ids"]), one["text"], one["reason"], one["ended"])
            for one in header.get("others", ())
        ),
    )
