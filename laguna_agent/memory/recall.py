"""Recall: full-text search in the memories and session records of a repository.

Results are ranked by BM25 (SQLite FTS5), where names of paths and symbols weigh more than other
words. The database is a cache of the files: it is rebuilt when missing, and follows edits.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from laguna_agent.clip import clip
from laguna_agent.errors import LagunaError
from laguna_agent.events import Event
from laguna_agent.memory.memory_store import Memory, read_memory
from laguna_agent.memory.recall_index import RecallIndex
from laguna_agent.memory.words import names_in, words_in
from laguna_agent.trajectory.event_text import event_text
from laguna_agent.trajectory.meta import title_of
from laguna_agent.trajectory.store import Trajectory

Count = Callable[[str], int] | Callable[[str], Awaitable[int]]

_POINTER = re.compile(
    r"^(?:(?:session\s+)?([0-9a-z][0-9a-z-]*)[\s:]+)?e(?:vent\s*)?(\d+)(?:\s*-\s*e?(\d+))?$"
)
_OPEN_CHARS = 12_000
_WITHHELD = "[not shown: it may hold secrets; read the file itself, which asks]"
_LINES = 5
"""Most claims of a memory that a hit shows."""
_WEIGHTS = {"Decisions": 3, "Constraints": 3, "Failed": 2, "Open": 2, "Commands": 1}
"""What a claim counts by its section, beside the words that it shares with the query."""
_PROSE = 400
"""Characters of each line of a memory's prose that a task is told."""


@dataclass(frozen=True)
class MemoryHit:
    """A memory that matches a query; a higher `score` is better."""

    memory: Memory
    score: float
    lines: tuple[str, ...]
    """The claims that match the query best, pointers included."""


@dataclass(frozen=True)
class EventHit:
    """A stored event that matches a query."""

    session: str
    seq: int
    ts: str
    kind: str
    snippet: str
    score: float


class Recall:
    """Search in the memories and records of the repository at `root`. Thread-safe.

    Events of other sessions that `withholds` names are found, but their text is not shown.
    """

    def __init__(
        self,
        root: Path,
        *,
        session: str | None = None,
        withholds: Callable[[Event], bool] = lambda event: False,
    ) -> None:
        self.root = root
        self._withholds = withholds
        self.session = session
        """The session that `e12` without a session refers to."""
        self._index = RecallIndex(root)

    def refresh(self) -> None:
        """Update the index from the files."""
        self._index.refresh()

    def close(self) -> None:
        """Close the database."""
        self._index.close()

    # --- search -------------------------------------------------------------------------------

    def memories(
        self, query: str, *, limit: int = 5, without: Collection[str] = ()
    ) -> list[MemoryHit]:
        """The memories that match a query best, one a session, best first; none of the sessions
        `without`."""
        self._index.refresh()
        return self._memories(query, limit, without)

    def _memories(self, query: str, limit: int, without: Collection[str] = ()) -> list[MemoryHit]:
        wanted = set(words_in(query))
        names = set(names_in(query))
        found: dict[str, tuple[Memory, float]] = {}
        for path, score in self._index.memories(query, limit * 6):
            memory = read_memory(path)
            if memory is None or (memory.session or memory.id) in without:
                continue
            text = f"{memory.title} {' '.join(memory.files)} {memory.body}"
            shared = wanted & set(words_in(text))
            if len(shared) < min(2, len(wanted)) and not any(name in text for name in names):
                continue
            known = found.setdefault(memory.session or memory.id, (memory, score))[0]
            if memory.edited and not known.edited:  # what a person wrote counts most
                found[memory.session] = memory, score
        return [
            MemoryHit(memory, score, tuple(_best_lines(memory, wanted)))
            for memory, score in [
                (self._last_word(memory), score) for memory, score in found.values()
            ][:limit]
        ]

    def _last_word(self, memory: Memory) -> Memory:
        """The memory, or the whole session's where a part of it did not end well: later parts of
        the session may have."""
        if memory.level != "segment" or memory.edited:
            return memory
        whole = self._index.session_memory(memory.session)
        if whole is None or (memory.outcome == "done" and whole.outcome != "undone"):
            return memory
        return whole

    def events(self, query: str, *, limit: int = 5, session: str | None = None) -> list[EventHit]:
        """The events that match a query best, best first."""
        self._index.refresh()
        return self._events(query, limit, session)

    def _events(self, query: str, limit: int, session: str | None = None) -> list[EventHit]:
        return [EventHit(*row) for row in self._index.events(query, limit, session)]

    def open(self, session: str, first: int, last: int | None = None) -> str:
        """The events from `first` to `last` of a session, as text. Raises UsageError when there is
        no such session."""
        directory = self._index.sessions_dir / session
        trajectory = Trajectory.open(directory, for_append=False)
        parts: list[str] = []
        room = _OPEN_CHARS
        for stored in trajectory.events(first):
            if stored.seq > (last or first):
                break
            withheld = session != self.session and self._withholds(stored.event)
            text = _WITHHELD if withheld else event_text(stored.event)
            head = f"## {session} e{stored.seq} {stored.event.type} ({stored.ts[:16]})"
            if len(text) > room:
                text = (
                    f"{text[: room * 2 // 3]}\n[… {len(text) - room} characters …]\n"
                    + (text[-room // 3 :])
                )
            parts.append(f"{head}\n{text}")
            room = max(200, room - len(text))
        return "\n\n".join(parts)

    def answer(self, query: str, limit: int = 5) -> str:
        """The result of the recall tool: the events that a pointer names, or else the best
        memories and events. Empty when nothing matches; errors are returned as text.
        """
        try:
            pointer = _POINTER.match(query.strip().strip("[]`"))
            if pointer is not None:
                session = self._session_named(pointer.group(1))
                if session is not None:
                    first = int(pointer.group(2))
                    return self.open(session, first, int(pointer.group(3) or first))
            self._index.refresh()
            parts = [_memory_text(hit) for hit in self._memories(query, max(1, limit // 2))]
            parts += [
                f"## {hit.session} e{hit.seq} {hit.kind} ({hit.ts[:16]})\n{self._shown(hit)}"
                for hit in self._events(query, limit)
            ]
        except LagunaError as error:
            return str(error)
        return "\n\n".join(parts)

    async def for_task(
        self, task: str, *, budget: int, count: Count, without: Collection[str] = ()
    ) -> str:
        """The memories that match a task best, as text of at most `budget` tokens.

        `count` counts the tokens of a text. None of the sessions `without` are told. Empty when
        nothing matches.
        """
        if budget <= 0:
            return ""
        hits = self.memories(task, limit=4, without=without)
        told: list[list[str]] = [[] for _ in hits]
        # First what each memory is about, best first, then what else they say.
        lines = [(place, _head(hit.memory)) for place, hit in enumerate(hits)]
        for place, hit in enumerate(hits):
            lines += [(place, f"  {clip(line, _PROSE)}") for line in hit.memory.prose.split("\n")]
            lines += [(place, f"  - {clip(line, 220)}") for line in hit.lines]
        for place, line in lines:
            if not line.strip() or (line.startswith(" ") and not told[place]):
                continue
            told[place].append(line)
            text = "\n".join("\n".join(part) for part in told if part)
            if await _count(count, text) > budget:
                told[place].pop()
        return "\n".join("\n".join(part) for part in told if part)

    # --- internals ----------------------------------------------------------------------------

    def _shown(self, hit: EventHit) -> str:
        if hit.session == self.session:
            return hit.snippet
        trajectory = Trajectory.open(self._index.sessions_dir / hit.session, for_append=False)
        stored = next(trajectory.events(hit.seq), None)
        return _WITHHELD if stored and self._withholds(stored.event) else hit.snippet

    def _session_named(self, name: str | None) -> str | None:
        if name is None:
            return self.session
        if (self._index.sessions_dir / name).is_dir():
            return name
        found = [entry.name for entry in self._index.sessions_dir.glob(f"*{name}*")]
        return found[0] if len(found) == 1 else None


def _best_lines(memory: Memory, wanted: set[str]) -> Iterator[str]:
    """The claims that say most for a query, without those that the memory's head says too."""
    lines = [
        (
            2 * len(wanted & set(words_in(claim.text))) + _WEIGHTS.get(name, 0),
            -number,
            f"{name}: {claim.render()}",
        )
        for name, claims in memory.summary.sections.items()
        for number, claim in enumerate(claims)
        if not (name == "Goal" and claim.text.startswith(memory.title[:40]))
        and not (name == "Files" and claim.text.partition(":")[0] in memory.files)
    ]
    for _, _, line in sorted(lines, reverse=True)[:_LINES]:
        yield line


def _head(memory: Memory) -> str:
    """When, how it ended, what was wanted, and which files changed."""
    outcome = "" if memory.level == "week" else f" {memory.outcome or 'open'}"
    head = f"- {memory.ended[:10]}{outcome}: {memory.title}"
    if memory.files:
        head += f" ({', '.join(memory.files[:4])})"
    return f"{head} [{memory.session or memory.id}]"


def _memory_text(hit: MemoryHit) -> str:
    memory = hit.memory
    head = f"## memory {memory.id} ({memory.ended[:10]}, {memory.outcome or 'open'})"
    files = [f"Files: {', '.join(memory.files[:8])}"] if memory.files else []
    prose = [memory.prose] if memory.prose else []
    claims = [f"- {line}" for line in hit.lines]
    return "\n".join([head, title_of(memory.title), *files, *prose, *claims])


async def _count(count: Count, text: str) -> int:
    value = count(text)
    return await value if inspect.isawaitable(value) else value
