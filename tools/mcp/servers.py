"""The MCP servers of a session: their tools by name, searched, approved and called.

Of a server whose tools a person has approved before, the tools are known without starting it. What
a server says is passed on only when it is what was approved.
"""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from laguna_agent.actions import Action, ApproveMcpTools, CallMcpTool, McpPlace
from laguna_agent.config import McpServerConfig
from laguna_agent.tools.mcp.connection import Connection, Login, Reach
from laguna_agent.tools.mcp.launch import ServerError
from laguna_agent.tools.mcp.offers import (
    ApprovedTools,
    Offer,
    approve,
    approved_offers,
    plain_name,
    unique_names,
)
from laguna_agent.tools.tool import Permit

_MOST_FOUND = 12
_MOST_STARTING = 8
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class ServerSetup:
    """A server, and what the policy says about it."""

    name: str
    """As the configuration has it."""
    config: McpServerConfig
    place: McpPlace
    about: str
    """The command line or the address, for people."""
    reach: Reach
    approved: ApprovedTools
    starts: tuple[Action, ...] = ()
    """What must be permitted before it is started."""
    login: Login | None = None
    is_kept: Callable[[], bool] = lambda: True
    """Whether what is permitted now is kept: not where nobody is asked."""


class McpServer:
    """One server as the session sees it. `name` is its plain, unique name."""

    def __init__(self, name: str, setup: ServerSetup) -> None:
        self.name, self.setup = name, setup
        self.connection = Connection(name, setup.config, setup.reach, setup.login)
        self.known = approved_offers(setup.approved)
        """What a person has approved."""
        self.allowed: dict[str, Offer] = {}
        """What was permitted in this session."""
        self.cut = False
        self._names: dict[str, str] = {}
        self._lock = asyncio.Lock()
        self._rename()

    @property
    def offers(self) -> dict[str, Offer]:
        """The tools that the model may read about, by plain name."""
        both = {**self.known, **self.allowed}
        return {self._names[name]: offer for name, offer in both.items()}

    @property
    def is_known(self) -> bool:
        """Whether its tools are known."""
        return bool(self.known or self.allowed)

    def _rename(self) -> None:
        self._names = unique_names({**self.known, **self.allowed}, lambda name: False)

    async def refresh(self, permit: Permit, wanted: str | None = None) -> None:
        """Start the server if need be, and ask for what is new or changed: of all its tools, or of
        the one with the plain name `wanted`. Raises ServerError when that is refused."""
        async with self._lock:
            listing = await self.connection.listing()
            self.cut = listing.cut
            both = {**self.known, **self.allowed}
            names = unique_names({*listing.offers, *both}, lambda name: False)
            gone = {name for name in both if name not in listing.offers}
            new = [
                offer
                for name, offer in listing.offers.items()
                if (both.get(name) != offer) and wanted in (None, names[name])
            ]
            if new:
                await self._ask(new, both, permit)
            for name in gone:
                self.known.pop(name, None)
                self.allowed.pop(name, None)
            self._rename()

    async def refresh_permitted(self, permit: Permit, wanted: str | None = None) -> None:
        """`refresh`, once its host is permitted where a project names it."""
        refused = await permitted(self.setup.starts, permit)
        if refused is not None:
            raise ServerError(f"the MCP server {self.name} may not be used: {refused}")
        await self.refresh(permit, wanted)

    async def _ask(self, new: Sequence[Offer], before: Mapping[str, Offer], permit: Permit) -> None:
        changed = [offer.name for offer in new if offer.name in before]
        parts = []
        for offer in new:
            mark = " (changed)" if offer.name in changed else ""
            parts.append(f"{plain_name(offer.name)}{mark}\n{offer.text}")
            if offer.name in changed:
                parts.append(f"before:\n{before[offer.name].text}")
        action = ApproveMcpTools(
            server=self.name,
            tools=[plain_name(offer.name) for offer in new],
            text="\n\n".join(parts),
            changed=bool(changed),
        )
        if (refused := await permit(action)) is not None:
            raise ServerError(f"the tools of the MCP server {self.name} may not be used: {refused}")
        self.allowed.update((offer.name, offer) for offer in new)
        if self.setup.is_kept():
            await asyncio.to_thread(approve, self.setup.approved, new)

    def offer(self, tool: str) -> Offer:
        """The tool with this plain name. Raises ServerError, with what there is."""
        if (found := self.offers.get(tool)) is not None:
            return found
        near = difflib.get_close_matches(tool, self.offers, n=1, cutoff=0.5)
        some = ", ".join(list(self.offers)[:_MOST_FOUND])
        hint = f"did you mean {near[0]}?" if near else f"it has: {some}"
        raise ServerError(f"the MCP server {self.name} has no tool {tool[:80]}; {hint}")

    def unapproved(self) -> list[Offer]:
        """What it offered when it last started and nobody has approved."""
        listed = self.connection.listed
        return [offer for name, offer in listed.items() if self.known.get(name) != offer]

    def approve(self, offers: Sequence[Offer]) -> None:
        """Keep offers as approved."""
        approve(self.setup.approved, offers)

    def actions(self, tool: str, arguments: str) -> list[Action]:
        """The side effects of a call."""
        call = CallMcpTool(server=self.name, tool=tool, arguments=arguments, place=self.setup.place)
        return [*self.setup.starts, call]


class McpServers:
    """All servers of a session. Closed with `aclose`."""

    def __init__(self, setups: Sequence[ServerSetup]) -> None:
        # A server that a project or an editor names takes no name away from the person's.
        own = unique_names([one.name for one in setups if one.config.origin == "user"], _never)
        theirs = [one.name for one in setups if one.name not in own]
        used = {name.casefold() for name in own.values()}
        names = {**own, **unique_names(theirs, lambda name: name.casefold() in used)}
        self.by_name = {
            names[setup.name]: McpServer(names[setup.name], setup)
            for setup in sorted(setups, key=lambda setup: setup.name)
        }

    def named(self, tool: str) -> tuple[McpServer, str]:
        """The server and the tool that `SERVER/TOOL` names; the server may be left out where only
        one has such a tool, and the slash may be another mark, as in the names of declared tools.
        Raises ServerError, with what there is."""
        server, slash, name = tool.strip().partition("/")
        if slash and server in self.by_name:
            return self.by_name[server], name
        if not slash:
            found = [one for one in self.by_name.values() if server in one.offers]
            if len(found) == 1:
                return found[0], server
        meant = [
            (one, name)
            for one in self.by_name.values()
            for name in one.offers
            if _folded(f"{one.name}/{name}") == _folded(tool)
        ]
        if len(meant) == 1:
            return meant[0]
        known = [f"{one.name}/{name}" for one in self.by_name.values() for name in one.offers]
        near = difflib.get_close_matches(tool, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"the servers are: {', '.join(self.by_name)}"
        raise ServerError(f"there is no MCP tool {tool[:80]}; {hint}")

    def search(self, query: str) -> tuple[list[tuple[str, Offer]], int]:
        """The known tools that fit a query best, as (`SERVER/TOOL`, offer), and how many fit."""
        words = set(_WORD.findall(query.lower()))
        scored = []
        for server in self.by_name.values():
            for name, offer in server.offers.items():
                full = f"{server.name}/{name}"
                score = _score(words, full, offer.description)
                if score or not words:
                    scored.append((-score, full, offer))
        scored.sort(key=lambda item: item[:2])
        return [(full, offer) for _, full, offer in scored[:_MOST_FOUND]], len(scored)

    async def start_unknown(self, permit: Permit) -> list[str]:
        """Start the servers whose tools nobody knows yet; returns why some cannot be used."""
        unknown = [server for server in self.by_name.values() if not server.is_known]
        problems, allowed = [], []
        for server in unknown:
            refused = await permitted(server.setup.starts, permit)
            if refused is None:
                allowed.append(server)
            else:
                problems.append(f"the MCP server {server.name} may not be used: {refused}")
        # Several start at the same time; people are asked one after the other.
        room = asyncio.Semaphore(_MOST_STARTING)

        async def start(server: McpServer) -> None:
            async with room:
                await server.connection.listing()

        listed = await asyncio.gather(*map(start, allowed), return_exceptions=True)
        for server, outcome in zip(allowed, listed, strict=True):
            try:
                if isinstance(outcome, BaseException):
                    raise outcome
                await server.refresh(permit)
            except ServerError as error:
                problems.append(str(error))
        return problems

    async def aclose(self) -> None:
        """End all servers."""
        stops = (server.connection.stop() for server in self.by_name.values())
        await asyncio.gather(*stops, return_exceptions=True)


async def permitted(actions: Sequence[Action], permit: Permit) -> str | None:
    """Why one of the actions is refused, or None."""
    for action in actions:
        if (refused := await permit(action)) is not None:
            return refused
    return None


def _never(name: str) -> bool:
    return False


def _folded(name: str) -> str:
    """A name without its marks, which models confuse."""
    return re.sub(r"[\W_]+", " ", name).strip().casefold()


def _score(words: set[str], name: str, description: str) -> float:
    """How well a tool fits: words of its name count more than those of its description."""
    named, described = set(_WORD.findall(name.lower())), set(_WORD.findall(description.lower()))
    score = 0.0
    for word in words:
        stem = word.rstrip("s")
        if any(stem in other for other in named):
            score += 3
        elif any(other.startswith(stem) for other in described):
            score += 1
    return score


def declared_names(servers: McpServers, taken: Callable[[str], bool]) -> dict[str, tuple[str, str]]:
    """Of the tools to declare, the name that the model calls each by: (server, tool) by name."""
    wanted = {
        f"{server.name}_{plain_name(tool)}".replace(".", "_"): (server.name, plain_name(tool))
        for server in servers.by_name.values()
        for tool in server.setup.config.declare
    }
    names = unique_names(wanted, taken)
    return {names[full]: pair for full, pair in wanted.items()}
