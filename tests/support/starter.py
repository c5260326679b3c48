"""The starter model for tests: fetched once into the cache of test models, by laguna's own code.

`python tests/support/starter.py` does it ahead of the tests and shows how far it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from laguna_agent.interfaces.transfer_progress import TransferLine
from laguna_agent.models.catalogue import STARTER, load_catalogue
from laguna_agent.models.fetch.acquire import pull
from laguna_agent.models.store import Store


def cache_dir() -> Path:
    chosen = os.environ.get("LAGUNA_TEST_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "laguna-tests"


def fetch_starter() -> Path:
    """Path of the starter, its digest checked."""
    store = Store(cache_dir())
    pinned = load_catalogue().get(STARTER).file.sha256
    with TransferLine() as line:
        path = pull(STARTER, store, wait=True, on_progress=line.progress).path
        if store.digest(path) != pinned:
            path.unlink()
            path = pull(STARTER, store, wait=True, on_progress=line.progress).path
    assert store.digest(path) == pinned
    return path


if __name__ == "__main__":
    print(fetch_starter())
