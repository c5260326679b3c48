"""Which text of an event is searched, and how queries and texts are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from laguna_agent.encodable import encodable
from laguna_agent.events import (
    CheckRan,
    Compacted,
    Event,
    PlanUpdated,
    Reply,
    SystemNote,
    ToolFinished,
    TurnFinished,
    TurnStarted,
    UserMessage,
)
from laguna_agent.memory.words import names_in, split_name, words_in
from laguna_agent.trajectory.event_text import event_text
from laguna_agent.trajectory.replay import COMPACTION

STEM = 6
"""Leading letters by which two words count as forms of the same word."""
_MOST_TERMS = 24


def terms_of(query: str) -> list[str]:
    """FTS5 terms of a query: names as phrases first, then each word once."""
    terms: dict[str, None] = {}
    for name in names_in(query):
        words = list(_tokens(name))
        if len(words) > 1:
            terms.setdefault('"' + " ".join(words) + '"')
    for word in words_in(query):
        terms.setdefault(f'"{word}"')
    if not terms:  # only stop words: use those
        for word in _tokens(query):
            terms.setdefault(f'"{word}"')
    return list(terms)[:_MOST_TERMS]


def closeness(wanted: list[str], text: str) -> float:
    """How close the neighbouring words of a query are in a text: 1 when adjacent, 1/2 with one
    word between them, and so on; the mean over the query's pairs."""
    pairs = set(pairwise(wanted))
    if not pairs:
        return 0.0
    known = set(wanted)
    positions: dict[str, int] = {}
    best: dict[tuple[str, str], float] = {}
    for position, word in enumerate(words_in(text)):
        stem = word[:STEM]
        if stem not in known:
            continue
        for other, earlier in positions.items():
            for pair in ((other, stem), (stem, other)):
                if pair in pairs:
                    best[pair] = max(best.get(pair, 0.0), 1 / (position - earlier))
        positions[stem] = position
    return sum(best.values()) / len(pairs)


def _tokens(text: str) -> Iterator[str]:
    word = ""
    for character in text:
        if character.isalnum():
            word += character
        elif word:
            yield word
            word = ""
    if word:
        yield word


def searchable(event: Event, summary_requested: int) -> tuple[str, int]:
    """The text under which search finds an event, and whether the next reply is a summary.

    Recall's own queries and results have no text, and neither have summaries, which only repeat
    other events.
    """
    match event:
        case SystemNote():
            return ("", 1) if event.reason == COMPACTION else (event.text, summary_requested)
        case Reply():
            if event.discarded:
                return "", summary_requested
            if summary_requested:
                return "", 0
            calls = [call for call in event.tool_calls if call.name != "recall"]
            return event_text(event.model_copy(update={"tool_calls": calls})), 0
        case ToolFinished() if event.name == "recall":
            return "", summary_requested
        case TurnStarted() | Compacted():
            return "", 0
        case TurnFinished():
            return event_text(event), 0
        case UserMessage() | ToolFinished() | CheckRan() | PlanUpdated():
            return event_text(event), summary_requested
        case _:
            return "", summary_requested


def names_column(text: str, more: Iterable[str] = ()) -> str:
    """Paths and symbols of a text, each whole and split into its parts; at most 200."""
    names: dict[str, None] = dict.fromkeys(more)
    for name in names_in(text):
        names.setdefault(name)
        if len(names) >= 200:
            break
    return encodable(" ".join(f"{name} {' '.join(split_name(name))}" for name in names))
