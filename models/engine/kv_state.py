"""KV states outside the context: what the cache can load, whoever keeps it."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import Protocol


class SavedState(Protocol):
    """A whole KV state that can replace the cache's content: parked in memory or on disk."""

    tokens: array[int]
    """The tokens the state holds, in order."""
    label: str

    def read(self) -> bytearray | memoryview | None:
        """The bytes; None when they are damaged."""


class StateStore(Protocol):
    """A store of states outside the cache."""

    def find(self, prompt: array[int]) -> list[SavedState]:
        """States that share a beginning with the prompt, the longest shared one first."""

    def forget(self, state: SavedState) -> None:
        """Drop a state that could not be used."""


def digest(tokens: array[int]) -> bytes:
    """A key for a sequence of tokens."""
    return hashlib.blake2b(tokens.tobytes(), digest_size=16).digest()


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common prefix of two token sequences."""
    limit = min(len(left), len(right))
    low = 0
    step = 4096
    while low < limit:
        end = min(low + step, limit)
        if left[low:end] == right[low:end]:
            low = end
        elif step > 1:
            step = max(1, min(step, end - low) // 2)
        else:
            break
    return low
