"""What of an event is searched, and how a question meets it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

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
"""Letters of a word that have to be the same for two words to be near each other's sense."""
_MOST_TERMS = 24


def terms_of(query: str) -> list[str]:
    """FTS5 terms of a question: each word once, names as phrases first."""
    terms: dict[str, None] = {}
    for name in names_in(query):
        words = list(_tokens(name))
        if len(words) > 1:
            terms.setdefault('"' + " ".join(words) + '"')
    for word in words_in(query):
        terms.setdefault(f'"{word}"')
    if not terms:  # nothing but stop words: better those than nothing
        for word in _tokens(query):
            terms.setdefault(f'"{word}"')
    return list(terms)[:_MOST_TERMS]


def closeness(wanted: list[str], text: str) -> float:
    """How close together the neighbouring words of a question stand in a text: 1 for side by
    side, 1/2 for a word between them, and so on; the mean over the question's pairs."""
    pairs = set(pairwise(wanted))
    if not pairs:
        return 0.0
    known = set(wanted)
    places: dict[str, int] = {}
    best: dict[tuple[str, str], float] = {}
    for place, word in enumerate(words_in(text)):
        stem = word[:STEM]
        if stem not in known:
            continue
        for other, before in places.items():
            for pair in ((other, stem), (stem, other)):
                if pair in pairs:
                    best[pair] = max(best.get(pair, 0.0), 1 / (place - before))
        places[stem] = place
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


def searchable(event: Event, asked: int) -> tuple[str, int]:
    """The text of an event that search should find, and whether a summary was asked for.

    Left out: recall's own questions and answers, and summaries of what is there already.
    """
    match event:
        case SystemNote():
            return ("", 1) if event.reason == COMPACTION else (event.text, asked)
        case Reply():
            if event.discarded:
                return "", asked
            if asked:
                return "", 0
            calls = [call for call in event.tool_calls if call.name != "recall"]
            return event_text(event.model_copy(update={"tool_calls": calls})), 0
        case ToolFinished() if event.name == "recall":
            return "", asked
        case TurnStarted() | Compacted():
            return "", 0
        case TurnFinished():
            return event_text(event), 0
        case UserMessage() | ToolFinished() | CheckRan() | PlanUpdated():
            return event_text(event), asked
        case _:
            return "", asked


def names_column(text: str, more: Iterable[str] = ()) -> str:
    """Paths and symbols of a text, each whole and in parts, at most 200."""
    names: dict[str, None] = dict.fromkeys(more)
    for name in names_in(text):
        names.setdefault(name)
        if len(names) >= 200:
            break
    return " ".join(f"{name} {' '.join(split_name(name))}" for name in names)
