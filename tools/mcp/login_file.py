"""The file of the login at one address."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laguna_agent import file_lock
from laguna_agent.atomic_write import atomic_write
from laguna_agent.paths import make_private, state_dir

if TYPE_CHECKING:
    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

_MOST_BYTES = 1 << 20


def login_file(url: str) -> Path:
    """Where the login at an address is kept."""
    digest = hashlib.sha256(url.encode()).hexdigest()
    return state_dir() / "mcp" / f"login-{digest[:24]}.json"


class LoginFile:
    """The tokens of one address, in a file that only this user can read.

    Implements `TokenStorage` of the package `mcp`. It begins empty: what is there is replaced once
    a login has succeeded, or read by `load`.
    """

    def __init__(self, url: str, *, client: dict[str, Any] | None = None) -> None:
        self.path = login_file(url)
        self.renewal: dict[str, str] = {}
        """Where tokens are renewed, as the login found out: `endpoint`, and `resource` if it wants
        that."""
        self._data: dict[str, Any] = {"client": client} if client is not None else {}

    def load(self) -> None:
        """Read what is there."""
        data: Any = None
        with suppress(OSError, ValueError, RecursionError):
            if self.path.stat().st_size <= _MOST_BYTES:
                data = json.loads(self.path.read_text(encoding="utf-8"))
        self._data = data if isinstance(data, dict) else {}
        renewal = self._data.get("renewal")
        self.renewal = renewal if isinstance(renewal, dict) else {}

    @property
    def expired(self) -> bool:
        """Whether the tokens are no longer valid, as far as it is known."""
        until = self._data.get("until")
        return isinstance(until, int | float) and time.time() > until

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from renewing the tokens. Raises LockHeldError, and OSError."""
        make_private(self.path.parent)
        with file_lock.locked(self.path.with_suffix(".lock"), wait=False):
            yield

    def _write(self) -> None:
        make_private(self.path.parent)
        atomic_write(self.path, json.dumps({"schema": "laguna.mcp-login/1", **self._data}))

    async def get_tokens(self) -> OAuthToken | None:
        """The tokens, or None."""
        from mcp.shared.auth import OAuthToken

        with suppress(ValueError):
            return OAuthToken.model_validate(self._data.get("tokens"))
        return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep new tokens."""
        self._data["tokens"] = tokens.model_dump(mode="json", exclude_none=True)
        self._data["renewal"] = self.renewal
        self._data["until"] = time.time() + tokens.expires_in if tokens.expires_in else None
        self._write()

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """What the server knows laguna as, or None."""
        from mcp.shared.auth import OAuthClientInformationFull

        with suppress(ValueError):
            return OAuthClientInformationFull.model_validate(self._data.get("client"))
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep it; it is written with the tokens."""
        self._data["client"] = client_info.model_dump(mode="json", exclude_none=True)


def forget_login(url: str) -> bool:
    """Remove the login at an address; says whether there was one."""
    with suppress(FileNotFoundError):
        os.unlink(login_file(url))
        return True
    return False
