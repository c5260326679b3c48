"""The starter model for tests, fetched once into the cache of test models by laguna's own code.

`make starter` fetches it before the tests run and shows its progress.
"""

from __future__ import annotations

from pathlib import Path

from laguna_agent.interfaces.transfer_progress import TransferLine
from laguna_agent.models.catalogue import STARTER, load_catalogue
from laguna_agent.models.fetch.acquire import pull
from laguna_agent.models.store import Store
from support.synthetic import cache_dir


def fetch_starter() -> Path:
    """Fetch the starter if needed and check its digest; returns its path."""
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
