"""Engine requests on the wire: everything but the prompt in the header, the prompt as payload."""

from __future__ import annotations

from pydantic import TypeAdapter

from laguna_agent.models.engine import wire
from laguna_agent.models.engine.interface import EngineRequest

_FIELDS = TypeAdapter(EngineRequest)


def encode_request(request: EngineRequest) -> tuple[wire.Header, bytes]:
    """Header and payload of a request; the request's id is added by the connection."""
    fields = _FIELDS.dump_python(request, mode="json", exclude={"tokens", "halt"})
    return {"type": "generate", **fields}, wire.pack_tokens(request.tokens)


def decode_request(header: wire.Header, payload: bytes) -> EngineRequest:
    """The request of a frame. Raises ValueError or WireError when the frame is malformed."""
    return _FIELDS.validate_python({**header, "tokens": wire.unpack_tokens(payload)})
