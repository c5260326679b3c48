"""A tool that a server offers, bounded, and with the hash by which it is approved."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from laguna_agent.tools.files.encoding import printable
from laguna_agent.tools.mcp.schema import plain_schema, schema_text
from laguna_agent.tools.terminal.ansi import clean_text

_MOST_DESCRIPTION = 2_000
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_MOST_NAME = 64


@dataclass(frozen=True)
class Offer:
    """A tool of a server. The model reads its `description` and `schema`, and nothing else."""

    name: str
    """As the server calls it, which it must be called by."""
    description: str
    schema: dict[str, Any]
    reads_only: bool = False
    """Whether the server says so, which proves nothing."""

    @property
    def digest(self) -> str:
        """The hash of all that the server says about the tool."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def text(self) -> str:
        """What a person approves and the model reads."""
        about = self.description or "(no description)"
        return f"{about}\narguments: {schema_text(self.schema)}"

    @property
    def first_line(self) -> str:
        """The beginning of the description, for lists."""
        line = self.description.split("\n", 1)[0]
        return line if len(line) <= 160 else f"{line[:159]}…"


def make_offer(name: str, description: str | None, schema: Any, *, reads_only: bool) -> Offer:
    """The offer of a tool as a server describes it: without control characters, bounded."""
    text = printable(clean_text(description or "")).strip()
    if len(text) > _MOST_DESCRIPTION:
        text = text[: _MOST_DESCRIPTION - 1] + "…"
    return Offer(name, text, plain_schema(schema), reads_only)


class ApprovedTools(Protocol):
    """What a person has approved of one server."""

    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        """The approved offers, as plain data by name."""

    def approve(self, offers: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep offers as approved."""


def approved_offers(approved: ApprovedTools) -> dict[str, Offer]:
    """The offers that a person has approved, by name."""
    found = {}
    for name, data in approved.tools().items():
        try:
            found[name] = Offer(**data)
        except TypeError:  # of another version
            continue
    return found


def approve(approved: ApprovedTools, offers: Iterable[Offer]) -> None:
    """Keep offers as approved."""
    approved.approve({offer.name: asdict(offer) for offer in offers})


def plain_name(name: str) -> str:
    """A name with only letters, digits, `_`, `-` and `.`, for the model and for rules."""
    return _NAME.sub("_", name).strip("_.")[:_MOST_NAME] or "tool"


def unique_names(names: Iterable[str], taken: Callable[[str], bool]) -> dict[str, str]:
    """A plain name for each of these, none of them `taken`, or twice but for its case.

    What is plain already keeps its name, so that no other one can take it.
    """
    found: dict[str, str] = {}
    used: set[str] = set()
    numbers: dict[str, int] = {}
    for name in sorted(set(names), key=lambda name: (plain_name(name) != name, name)):
        base = plain = plain_name(name)
        while plain.casefold() in used or taken(plain):
            number = numbers[base] = numbers.get(base, 1) + 1
            plain = f"{base[: _MOST_NAME - 4]}_{number}"
        used.add(plain.casefold())
        found[name] = plain
    return found
