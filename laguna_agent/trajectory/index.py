"""The index of a repository's sessions: a cache in SQLite over the `meta.json` files.

`sessions.sqlite` can be deleted at any time; laguna rebuilds it. A row is current as long as size
and time of its `meta.json` are, so that listing reads no file. Listing does not import pydantic
either unless a row is out of date, because the import takes longer than the list.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laguna_agent.clip import clip
from laguna_agent.encodable import json_text
from laguna_agent.errors import UsageError
from laguna_agent.paths import repository_state_dir

if TYPE_CHECKING:
    from laguna_agent.trajectory.meta import Meta

_VERSION = 1
_SCHEMA = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, updated TEXT NOT NULL, stamp INTEGER NOT NULL, meta TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_update ON sessions (updated DESC);
"""


class SessionIndex:
    """The sessions of the repository at `root`. A context manager that closes the database."""

    def __init__(self, root: Path) -> None:
        self._state = repository_state_dir(root)
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> SessionIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()
            self._database = None

    @property
    def sessions_dir(self) -> Path:
        """Directory of the sessions."""
        return self._state / "sessions"

    def rows(self, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Sessions, most recently used first, as the fields of `Meta` that differ from their
        defaults."""
        database = self._refreshed()
        rows = database.execute(
            "SELECT meta FROM sessions ORDER BY updated DESC, id DESC LIMIT ?",
            (-1 if limit is None else limit,),
        )
        return [json.loads(row[0]) for row in rows]

    def sessions(self, *, limit: int | None = None) -> list[Meta]:
        """Sessions, most recently used first."""
        from laguna_agent.trajectory.meta import Meta

        return [Meta.model_validate(row) for row in self.rows(limit=limit)]

    def count(self) -> int:
        """Number of sessions."""
        row = self._refreshed().execute("SELECT count(*) FROM sessions").fetchone()
        return int(row[0])

    def latest(self) -> Path | None:
        """Directory of the most recently used session, for `--continue`."""
        row = (
            self._refreshed()
            .execute("SELECT id FROM sessions ORDER BY updated DESC, id DESC LIMIT 1")
            .fetchone()
        )
        return self.sessions_dir / str(row[0]) if row else None

    def resolve(self, name: str) -> Path:
        """Directory of the session `name`: an id, the beginning or end of one, or a path.

        Raises UsageError when no session or more than one matches.
        """
        with contextlib.suppress(OSError):  # a name that is too long, say
            path = Path(name).expanduser()
            if "/" in name and (path.is_dir() or path.is_file()):
                return path.parent if path.name == "events.jsonl" else path
            if (self.sessions_dir / name / "events.jsonl").is_file() and "/" not in name:
                return self.sessions_dir / name
        found = [entry for entry in self._names() if entry.startswith(name) or entry.endswith(name)]
        if len(found) == 1 and name:
            return self.sessions_dir / found[0]
        if found and name:
            shown = ", ".join(sorted(found)[-5:])
            raise UsageError(
                f"`{name}` matches {len(found)} sessions: {shown}", hint="Give more of the id."
            )
        raise UsageError(
            f"there is no session `{clip(name, 80)}` in this repository",
            hint="`laguna sessions list` lists them.",
        )

    # --- internals ----------------------------------------------------------------------------

    def _names(self) -> list[str]:
        try:
            with os.scandir(self.sessions_dir) as entries:
                return [entry.name for entry in entries if not entry.name.startswith(".")]
        except FileNotFoundError:
            return []

    def _refreshed(self) -> sqlite3.Connection:
        database = self._open()
        try:
            self._refresh(database)
        except sqlite3.DatabaseError:  # damaged or of an unknown schema: rebuild it
            self.close()
            database = self._open(rebuild=True)
            self._refresh(database)
        return database

    def _open(self, *, rebuild: bool = False) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        path = self._state / "sessions.sqlite"
        try:
            if rebuild:
                path.unlink(missing_ok=True)
            self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
            database = _connect(str(path))
        except (OSError, sqlite3.OperationalError):  # the state directory is not writable
            database = _connect(":memory:")
        except sqlite3.DatabaseError:
            if rebuild:
                database = _connect(":memory:")
            else:
                return self._open(rebuild=True)
        self._database = database
        return database

    def _refresh(self, database: sqlite3.Connection) -> None:
        known: dict[str, int] = dict(database.execute("SELECT id, stamp FROM sessions"))
        stale: list[tuple[str, int]] = []
        base = str(self.sessions_dir)
        stat = os.stat
        for name in self._names():
            try:
                info = stat(f"{base}/{name}/meta.json")
                stamp = info.st_mtime_ns ^ info.st_size
            except OSError:
                stamp = 0
            previous = known.pop(name, None)
            if previous != stamp or stamp == 0:
                stale.append((name, stamp))
        if not stale and not known:
            return
        rows = [row for row in (self._row(name, stamp) for name, stamp in stale) if row]
        with (
            contextlib.suppress(sqlite3.OperationalError),
            database,
        ):  # a read-only database stays out of date
            database.executemany("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)", rows)
            database.executemany("DELETE FROM sessions WHERE id = ?", ((name,) for name in known))

    def _row(self, name: str, stamp: int) -> tuple[str, str, int, str] | None:
        from laguna_agent.trajectory.meta import read_meta

        directory = self.sessions_dir / name
        if _is_empty(directory):  # opened by a run that ended, or has not begun
            return None
        meta = read_meta(directory) or _rebuilt(directory)
        if meta is None:
            return None
        meta.id = name
        return name, meta.updated, stamp, json_text(meta.model_dump(exclude_defaults=True))


def _is_empty(directory: Path) -> bool:
    """Whether nothing is on record."""
    try:
        return (directory / "events.jsonl").stat().st_size == 0
    except OSError:
        return False


def _rebuilt(directory: Path) -> Meta | None:
    """The meta of a session without a `meta.json`, from its first events."""
    from laguna_agent.trajectory.meta import Meta
    from laguna_agent.trajectory.reader import read_events

    try:
        size = (directory / "events.jsonl").stat().st_size
        meta = Meta(id=directory.name)
        for stored in islice(read_events(directory, 0, whole=False, problems=[]), 20):
            meta.apply(stored.ts, stored.event)
    except (OSError, UsageError):
        return None
    meta.bytes = size
    return meta


def _connect(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=2.0)
    try:
        if path != ":memory:":
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=OFF")  # a cache may be lost
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            database.execute("DROP TABLE IF EXISTS sessions")
            database.executescript(_SCHEMA)
            database.execute(f"PRAGMA user_version={_VERSION}")
    except BaseException:
        database.close()
        raise
    return database
