"""What a server refused is remembered across sessions, so that it is not asked in vain each time.

One file for all servers. A lesson belongs to a provider, its address, the model and the server's
version: another one of them knows nothing of it. It is forgotten after a month too, since not every
server tells its version. Only what made a refused request succeed is kept.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.file_lock import locked
from laguna_agent.paths import make_private, state_dir

_KEPT_S = 30 * 24 * 3600.0
_MOST_SERVERS = 200
_MOST_BYTES = 1 << 20
_FILE = "servers.json"


@dataclass(frozen=True)
class Lessons:
    """What is known of one model of one server. `version`: the server's, "" where it tells none."""

    provider: str
    address: str
    model: str
    version: str

    @property
    def _key(self) -> str:
        return " ".join((self.provider, self.address, self.model))

    def known(self) -> Mapping[str, Any]:
        """What was learned of this server; empty where that is nothing."""
        entry = _read().get(self._key)
        if not isinstance(entry, dict) or entry.get("version") != self.version:
            return {}
        learned, at = entry.get("learned"), entry.get("at")
        fresh = isinstance(at, int | float) and 0 <= time.time() - at < _KEPT_S
        return learned if fresh and isinstance(learned, dict) else {}

    def keep(self, learned: Mapping[str, Any]) -> None:
        """Remember what was learned. That this fails stops nothing."""
        folder = state_dir()
        with contextlib.suppress(OSError):
            make_private(folder)
            with locked(folder / f"{_FILE}.lock"):
                entries = _read()
                entries.pop(self._key, None)
                entries[self._key] = {
                    "version": self.version,
                    "at": int(time.time()),
                    "learned": dict(learned),
                }
                kept = dict(list(entries.items())[-_MOST_SERVERS:])
                atomic_write(folder / _FILE, json.dumps(kept, indent=1))


def _read() -> dict[str, Any]:
    try:
        with (state_dir() / _FILE).open("rb") as file:
            value = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
