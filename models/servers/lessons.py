"""What a server refused, and which models it served, is remembered across sessions: it is not asked
in vain each time, and an editor can offer its models without asking.

One file for all servers. A lesson belongs to a provider, its address, the model and the server's
version: another one of them knows nothing of it. It is forgotten after a month too, since not every
server tells its version. Only what made a refused request succeed is kept.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from laguna_agent.atomic_write import atomic_write
from laguna_agent.file_lock import locked
from laguna_agent.paths import make_private, state_dir

_KEPT_S = 30 * 24 * 3600.0
_MOST_SERVERS, _MOST_MODELS = 200, 500
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


def keep_served(provider: str, url: str, models: Sequence[str]) -> None:
    """Remember the models that the provider at `url` serves."""
    told = _of_provider(provider, url)
    served = {"models": list(models[:_MOST_MODELS])}
    if models and told.known() != served:
        told.keep(served)


def served_models(provider: str, url: str) -> list[str]:
    """The models that the provider at `url` served last; empty where that is not known."""
    models = _of_provider(provider, url).known().get("models")
    return [model for model in models if isinstance(model, str)] if isinstance(models, list) else []


def _of_provider(provider: str, url: str) -> Lessons:
    """What is known of all of a provider's models. A password in its address is left out."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return Lessons(provider, url, "", "")


def _read() -> dict[str, Any]:
    try:
        with (state_dir() / _FILE).open("rb") as file:
            value = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
