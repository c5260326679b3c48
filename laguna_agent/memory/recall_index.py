"""The full-text index of recall: a cache in SQLite over memory files and session records.

Of a session that grew, only the new events are read. Refreshing does not look at every session:
creating or opening one changes the time of the directory of sessions, and sessions that were in
use at the last refresh are marked `live`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from pathlib import Path

from laguna_agent.errors import UsageError
from laguna_agent.events import Event, ToolFinished, TurnFinished
from laguna_agent.memory.matching import STEM, closeness, names_column, searchable, terms_of
from laguna_agent.memory.memory_store import Memory, MemoryStore, read_memory
from laguna_agent.memory.words import words_in
from laguna_agent.paths import repository_state_dir
from laguna_agent.trajectory.reader import read_events
from laguna_agent.trajectory.store import is_locked

_VERSION = 2
_SCHEMA = """
CREATE TABLE files (path TEXT PRIMARY KEY, stamp INTEGER NOT NULL, row INTEGER NOT NULL);
CREATE UNIQUE INDEX files_by_row ON files (row);
CREATE VIRTUAL TABLE memories USING fts5 (title, names, body, tokenize='porter unicode61');
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, size INTEGER NOT NULL, seq INTEGER NOT NULL, live INTEGER NOT NULL,
    asked INTEGER NOT NULL
);
CREATE TABLE rows (
    row INTEGER PRIMARY KEY, session TEXT NOT NULL, seq INTEGER NOT NULL, ts TEXT NOT NULL,
    kind TEXT NOT NULL
);
CREATE INDEX rows_of_session ON rows (session);
CREATE VIRTUAL TABLE events USING fts5 (names, body, tokenize='porter unicode61');
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_BODY_CHARS = 60_000
_RERANKED = 25
"""Matches beyond the requested number that are ranked again by the closeness of their words."""
_MOST_RANKED = 3_000
"""Matches that are ranked; beyond these, the oldest are left out."""
_COMMON = 0.05
"""Share of all events from which a word is common; rarer words are preferred."""


class RecallIndex:
    """The index of one repository. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._state = repository_state_dir(root)
        self.sessions_dir = self._state / "sessions"
        self._store = MemoryStore(root)
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def refresh(self) -> None:
        """Update the index from the files; rebuild it when the database is damaged."""
        with self._lock:
            try:
                self._refresh(self._open())
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) and "readonly" not in str(error):
                    self._rebuild()
                # Another process is updating it, or it is read-only: search it as it is.
            except sqlite3.DatabaseError:
                self._rebuild()

    def memories(self, query: str, limit: int) -> list[tuple[Path, float]]:
        """Files of memories with words of the query, best first, with a score."""
        with self._lock:
            terms = self._distinctive(terms_of(query), "memories")
            if not terms:
                return []
            sql = """
                SELECT files.path, -best.rank FROM (
                    SELECT rowid, rank FROM memories
                    WHERE memories MATCH ? AND rank MATCH 'bm25(4.0, 6.0, 1.0)'
                    ORDER BY rank LIMIT ?
                ) AS best JOIN files ON files.row = best.rowid ORDER BY best.rank
            """
            rows = self._open().execute(sql, (" OR ".join(terms), limit))
            return [(Path(path), score) for path, score in rows]

    def session_memory(self, session: str) -> Memory | None:
        """The memory of a whole session, if it has several parts."""
        return read_memory(self._store.path_of(session, "session"))

    def events(
        self, query: str, limit: int, session: str | None
    ) -> list[tuple[str, int, str, str, str, float]]:
        """Events with words of the query: session, number, time, type, snippet, score.

        Events with all words come first; events with some of them follow if needed.
        """
        with self._lock:
            terms = terms_of(query)
            if not terms:
                return []
            wanted = [word[:STEM] for word in words_in(query)]
            found = self._match(" AND ".join(terms), wanted, limit, session)
            if len(found) < limit and len(terms) > 1:
                some = self._match(
                    " OR ".join(self._distinctive(terms, "events")),
                    wanted,
                    limit + len(found),
                    session,
                )
                known = {row[:2] for row in found}
                found += [row for row in some if row[:2] not in known]
            return found[:limit]

    # --- queries ------------------------------------------------------------------------------

    def _match(
        self, match: str, wanted: list[str], limit: int, session: str | None
    ) -> list[tuple[str, int, str, str, str, float]]:
        """Matches of an FTS5 expression, best first, as `events` gives them."""
        database = self._open()
        only, bound = "", tuple[str | int, ...]()
        if session is not None:
            only, bound = "AND rowid IN (SELECT row FROM rows WHERE session = ?)", (session,)
        else:
            # Ranking costs time for each match: of very many, rank only the newest.
            oldest = database.execute(
                "SELECT rowid FROM events WHERE events MATCH ? "
                "ORDER BY rowid DESC LIMIT 1 OFFSET ?",
                (match, _MOST_RANKED),
            ).fetchone()
            if oldest is not None:
                only, bound = "AND rowid >= ?", oldest
        # Rank first: making a snippet of every match would take far longer.
        sql = f"""
            SELECT rows.session, rows.seq, rows.ts, rows.kind, rows.row, -best.rank FROM (
                SELECT rowid, rank FROM events
                WHERE events MATCH ? AND rank MATCH 'bm25(5.0, 1.0)' {only}
                ORDER BY rank LIMIT ?
            ) AS best JOIN rows ON rows.row = best.rowid
        """
        ranked = []
        for hit in database.execute(sql, (match, *bound, limit + _RERANKED)).fetchall():
            (body,) = database.execute(
                "SELECT body FROM events WHERE rowid = ?", hit[4:5]
            ).fetchone()
            ranked.append((hit[5] * (1 + 2 * closeness(wanted, body)), hit))
        ranked.sort(key=lambda item: -item[0])
        snippet = (
            "SELECT snippet(events, 1, '', '', ' … ', 48) FROM events "
            "WHERE events MATCH ? AND rowid = ?"
        )
        return [
            (*hit[:4], str(database.execute(snippet, (match, hit[4])).fetchone()[0]), score)
            for score, hit in ranked[:limit]
        ]

    def _distinctive(self, terms: list[str], table: str) -> list[str]:
        """The terms without common ones, unless all are common."""
        if len(terms) < 2:
            return terms
        database = self._open()
        (total,) = database.execute(
            "SELECT coalesce(max(row), 0) FROM " + ("rows" if table == "events" else "files")
        ).fetchone()
        most = max(50, int(total * _COMMON))
        counts = {}
        for term in terms:
            sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT ?)"
            (counts[term],) = database.execute(sql, (term, most)).fetchone()
        rare = [term for term in terms if 0 < counts[term] < most]
        return rare or [term for term in terms if counts[term]] or terms

    # --- refreshing ---------------------------------------------------------------------------

    def _refresh(self, database: sqlite3.Connection) -> None:
        with database:
            self._refresh_memories(database)
            self._refresh_sessions(database)

    def _refresh_memories(self, database: sqlite3.Connection) -> None:
        # An edit in place changes only the file's own time, so every file is checked; the sum of
        # all stamps tells whether any changed without a query for each.
        seen: dict[str, int] = {}
        total = 0
        for directory in ("segments", "sessions", "weeks"):
            base = self._store.directory / directory
            with contextlib.suppress(FileNotFoundError), os.scandir(base) as entries:
                for entry in entries:
                    name = entry.path
                    if name.endswith(".md") and not entry.name.startswith("."):
                        info = entry.stat()
                        seen[name] = stamp = info.st_mtime_ns ^ info.st_size
                        total += stamp
        total = (total * 31 + len(seen)) & 0x7FFF_FFFF_FFFF_FFFF
        if _state(database).get("memories") == total:
            return
        known = {
            path: (stamp, row)
            for path, stamp, row in database.execute("SELECT path, stamp, row FROM files")
        }
        for path, (stamp, row) in known.items():
            if seen.get(path) == stamp:
                del seen[path]
            else:
                _drop_memory(database, row)
        for path, stamp in seen.items():
            memory = read_memory(Path(path))
            if memory is not None:
                _add_memory(database, path, stamp, memory)
        database.execute("INSERT OR REPLACE INTO state VALUES ('memories', ?)", (total,))

    def _refresh_sessions(self, database: sqlite3.Connection) -> None:
        try:
            changed = self.sessions_dir.stat().st_mtime_ns
        except FileNotFoundError:
            changed = 0
        state = _state(database)
        known = {
            name: (size, seq, live, asked)
            for name, size, seq, live, asked in database.execute(
                "SELECT id, size, seq, live, asked FROM sessions"
                + ("" if state.get("changed") != changed else " WHERE live")
            )
        }
        if state.get("changed") != changed:
            names = self._names()
            for name in set(known) - set(names):
                _drop_session(database, name)
        else:
            names = list(known)
        for name in names:
            self._refresh_session(database, name, known.get(name))
        database.execute("INSERT OR REPLACE INTO state VALUES ('changed', ?)", (changed,))

    def _names(self) -> list[str]:
        try:
            with os.scandir(self.sessions_dir) as entries:
                return sorted(entry.name for entry in entries if not entry.name.startswith("."))
        except FileNotFoundError:
            return []

    def _refresh_session(
        self, database: sqlite3.Connection, name: str, known: tuple[int, int, int, int] | None
    ) -> None:
        size, seq, live, summary_requested = known or (0, 0, 0, 0)
        directory = self.sessions_dir / name
        try:
            info = os.stat(f"{self.sessions_dir}/{name}/events.jsonl")
            if not stat.S_ISREG(info.st_mode):
                return  # reading a pipe would wait for ever
            now = info.st_size
            # Check the lock before reading: events written in between are read, and later ones are
            # not missed, because the session counts as in use.
            in_use = int((known is None or now != size or live) and is_locked(directory))
        except OSError:
            return
        if known is not None and now == size and in_use == live:
            return
        if now < size:  # repaired or replaced: index it again
            _drop_session(database, name)
            seq, summary_requested = 0, 0
        try:
            for stored in read_events(directory, seq + 1, whole=True, problems=[]):
                text, summary_requested = searchable(stored.event, summary_requested)
                seq = stored.seq
                if text.strip():
                    _add_event(database, name, seq, stored.ts, stored.event, text)
        except (OSError, UsageError):
            return
        database.execute(
            "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?)",
            (name, now, seq, in_use, summary_requested),
        )

    # --- the database -------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            path = self._state / "memory" / "recall.sqlite"
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._database = _connect(str(path))
            except (OSError, sqlite3.OperationalError):
                self._database = _connect(":memory:")
            except sqlite3.DatabaseError:
                _remove(path)
                self._database = _connect(str(path))
        return self._database

    def _rebuild(self) -> None:
        self.close()
        _remove(self._state / "memory" / "recall.sqlite")
        self._refresh(self._open())


def _add_event(
    database: sqlite3.Connection, session: str, seq: int, ts: str, event: Event, text: str
) -> None:
    if len(text) > _BODY_CHARS:
        text = text[: _BODY_CHARS * 2 // 3] + "\n…\n" + text[-_BODY_CHARS // 3 :]
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
    files = event.files_changed if isinstance(event, ToolFinished | TurnFinished) else []
    row = database.execute(
        "INSERT INTO rows (session, seq, ts, kind) VALUES (?, ?, ?, ?)",
        (session, seq, ts, event.type),
    ).lastrowid
    database.execute(
        "INSERT INTO events (rowid, names, body) VALUES (?, ?, ?)",
        (row, names_column(text, files), text),
    )


def _add_memory(database: sqlite3.Connection, path: str, stamp: int, memory: Memory) -> None:
    more = [*memory.files, *memory.symbols]
    commands = "\n".join(command.run for command in memory.commands)
    body = f"{memory.body}\n{commands}".replace("\0", " ")
    row = database.execute(
        "INSERT INTO memories (title, names, body) VALUES (?, ?, ?)",
        (memory.title, names_column(memory.body, more), body),
    ).lastrowid
    database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (path, stamp, row))


def _state(database: sqlite3.Connection) -> dict[str, int]:
    return dict(database.execute("SELECT name, value FROM state"))


def _drop_memory(database: sqlite3.Connection, row: int) -> None:
    database.execute("DELETE FROM memories WHERE rowid = ?", (row,))
    database.execute("DELETE FROM files WHERE row = ?", (row,))


def _drop_session(database: sqlite3.Connection, name: str) -> None:
    database.execute(
        "DELETE FROM events WHERE rowid IN (SELECT row FROM rows WHERE session = ?)", (name,)
    )
    database.execute("DELETE FROM rows WHERE session = ?", (name,))
    database.execute("DELETE FROM sessions WHERE id = ?", (name,))


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _connect(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=2.0, check_same_thread=False)
    try:
        if path != ":memory:":
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=OFF")  # a cache may be lost
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            for table in ("files", "memories", "sessions", "rows", "events", "state"):
                database.execute(f"DROP TABLE IF EXISTS {table}")
            database.executescript(_SCHEMA)
            database.execute(f"PRAGMA user_version={_VERSION}")
            database.commit()
    except BaseException:
        database.close()
        raise
    return database
