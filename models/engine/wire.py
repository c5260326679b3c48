"""The protocol between client and engine: frames of a JSON header and bytes, over a Unix socket.

A frame is two little-endian 32-bit lengths, the header and the payload. Token ids travel in the
payload as little-endian 32-bit integers.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 3
_HEAD = struct.Struct("<II")
_MAX_HEADER = 64 << 20
_MAX_PAYLOAD = 64 << 20

Header = dict[str, Any]


class WireError(Exception):
    """The peer closed the connection or sent something that is not a frame."""


def pack(header: Header, payload: bytes = b"") -> bytes:
    """One frame."""
    data = json.dumps(header, separators=(",", ":")).encode()
    return _HEAD.pack(len(data), len(payload)) + data + payload


def pack_tokens(tokens: Sequence[int]) -> bytes:
    """Token ids as a payload."""
    data = array("i", tokens)
    if sys.byteorder == "big":
        data.byteswap()
    return data.tobytes()


def unpack_tokens(payload: bytes) -> array[int]:
    """Token ids of a payload. Raises WireError."""
    if len(payload) % 4:
        raise WireError("the length of a payload of token ids is not a multiple of 4")
    data = array("i", payload)
    if sys.byteorder == "big":
        data.byteswap()
    return data


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> tuple[Header, bytes]:
    """Header field `arrays` and payload for arrays of little-endian numbers."""
    facts = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    return {"arrays": facts}, b"".join(array.tobytes() for array in arrays.values())


def unpack_arrays(header: Header, payload: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a frame."""
    import numpy as np  # not needed by those who only generate

    arrays, at = {}, 0
    for name, (kind, shape) in header["arrays"].items():
        found = np.frombuffer(payload, kind, math.prod(shape), at).reshape(shape)
        at += found.nbytes
        arrays[name] = found
    return arrays


def _lengths(head: bytes) -> tuple[int, int]:
    header, payload = _HEAD.unpack(head)
    if header > _MAX_HEADER or payload > _MAX_PAYLOAD:
        raise WireError("a frame is too long")
    return header, payload


def _parse(data: bytes) -> Header:
    try:
        header = json.loads(data)
    except ValueError as error:
        raise WireError("a frame's header is not JSON") from error
    if not isinstance(header, dict):
        raise WireError("a frame's header is not an object")
    return header


async def read_frame(reader: asyncio.StreamReader) -> tuple[Header, bytes]:
    """The next frame. Raises WireError when there is none."""
    try:
        header, payload = _lengths(await reader.readexactly(_HEAD.size))
        return _parse(await reader.readexactly(header)), await reader.readexactly(payload)
    except (asyncio.IncompleteReadError, OSError) as error:
        raise WireError("the connection was closed") from error


def receive_frame(connection: socket.socket) -> tuple[Header, bytes]:
    """The next frame of a blocking socket. Raises WireError when there is none."""
    header, payload = _lengths(_receive(connection, _HEAD.size))
    return _parse(_receive(connection, header)), _receive(connection, payload)


def _receive(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        try:
            piece = connection.recv(min(count - len(data), 1 << 20))
        except OSError as error:
            raise WireError("the connection was closed") from error
        if not piece:
            raise WireError("the connection was closed")
        data += piece
    return bytes(data)
