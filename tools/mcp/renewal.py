"""Renews the tokens of a login with the place that gave them, one process at a time.

The package `mcp` forgets with the process where tokens are renewed and when they end, and sends
people to the browser again. Here the file of the login keeps both. A service that gives a new
refresh token with each renewal ends a login whose old one is used twice, so that processes take
turns, and each looks first at what another one has received.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack, suppress
from typing import cast

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.oauth2 import OAuthContext
from mcp.shared.auth import OAuthClientMetadata, OAuthToken

from laguna_agent.file_lock import LockHeldError
from laguna_agent.tools.mcp.login_file import LoginFile

_TURN_S, _POLL_S = 30.0, 0.05


class NewLogin(OAuthClientProvider):
    """A login that a person takes part in; it keeps where its tokens are renewed."""

    async def _handle_token_response(self, response: httpx2.Response) -> None:
        storage, context = cast("LoginFile", self.context.storage), self.context
        storage.renewal = {"endpoint": self._get_token_endpoint()}
        if context.should_include_resource_param(context.protocol_version):
            storage.renewal["resource"] = context.get_resource_url()
        await super()._handle_token_response(response)


class StoredLogin(httpx2.Auth):
    """Sends the stored token, and renews it where it has ended."""

    def __init__(self, file: LoginFile) -> None:
        self._file = file

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """One request, sent again with new tokens if the first ones were refused."""
        refused = ""
        while True:
            self._file.load()
            tokens = await self._file.get_tokens()
            if tokens is not None and (tokens.access_token == refused or self._file.expired):
                with ExitStack() as stack:
                    await self._take_turn(stack)
                    self._file.load()
                    now = await self._file.get_tokens()
                    if now is not None and now.access_token == tokens.access_token:
                        renewal = await self._renewal(tokens)
                        if renewal is not None:
                            await self._keep(tokens, (yield renewal))
                    tokens = await self._file.get_tokens()
            given = tokens.access_token if tokens is not None else ""
            if refused and given in ("", refused):
                return
            if given:
                request.headers["Authorization"] = f"Bearer {given}"
            response = yield request
            if response.status_code != 401 or refused or not given:
                return
            refused = given

    async def _take_turn(self, stack: ExitStack) -> None:
        """Wait until no other process renews these tokens, for some time."""
        with suppress(TimeoutError, OSError):  # where nothing can be locked, nothing is kept
            async with asyncio.timeout(_TURN_S):
                while True:
                    try:
                        return stack.enter_context(self._file.locked())
                    except LockHeldError:
                        await asyncio.sleep(_POLL_S)

    async def _renewal(self, tokens: OAuthToken) -> httpx2.Request | None:
        """The request that renews tokens, if there can be one."""
        endpoint = self._file.renewal.get("endpoint")
        client = await self._file.get_client_info()
        if endpoint is None or client is None or tokens.refresh_token is None:
            return None
        data = {
            "grant_type": "refresh_token",
            "refresh_token": tokens.refresh_token,
            "client_id": client.client_id or "",
        }
        if resource := self._file.renewal.get("resource"):
            data["resource"] = resource
        metadata = OAuthClientMetadata(redirect_uris=client.redirect_uris)
        context = OAuthContext(endpoint, metadata, self._file, None, None, client_info=client)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        data, headers = context.prepare_token_auth(data, form)
        return httpx2.Request("POST", endpoint, data=data, headers=headers)

    async def _keep(self, before: OAuthToken, response: httpx2.Response) -> None:
        """Keep new tokens; what the answer leaves out stays as it was."""
        if response.status_code != 200:
            return
        with suppress(ValueError):
            new = OAuthToken.model_validate_json(await response.aread())
            kept = {
                "refresh_token": new.refresh_token or before.refresh_token,
                "scope": new.scope or before.scope,
            }
            await self._file.set_tokens(new.model_copy(update=kept))
