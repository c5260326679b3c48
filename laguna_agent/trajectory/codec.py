"""Encodes an event as one line of `events.jsonl`, and decodes it.

A line is a JSON object in UTF-8 without raw line separators of any kind, so that every tool that
splits text into lines sees one line. Huge fields go to blobs, files named by their digest; of a
text, the line keeps the head for readers that do not need the whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from laguna_agent.atomic_write import atomic_write
from laguna_agent.errors import UsageError
from laguna_agent.events import Event

SCHEMA_VERSION = 1
"""Version of the lines that this laguna writes. It refuses to read newer ones."""

BLOB_LIMIT = 32_768
"""Bytes of JSON from which a field goes to a blob."""

BLOB_HEAD = 2_000
"""Characters that the line keeps of a text whose whole is in a blob."""

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)
_PREFIX = re.compile(rb'\{"seq":\s?(\d+),\s?"ts":\s?"([^"]*)",\s?"v":\s?(\d+),\s?"type":\s?"(\w+)"')


class StoredEvent(NamedTuple):
    """An event with its number and the time it was stored (ISO 8601, UTC, milliseconds)."""

    seq: int
    ts: str
    event: Event


class Header(NamedTuple):
    """The beginning of a line, read without parsing the rest."""

    seq: int
    ts: str
    version: int
    type: str


class DamagedLineError(Exception):
    """A line that is not a stored event. Readers skip it and report it."""


def header(line: bytes) -> Header | None:
    """The header of a line; None when the line does not begin like a stored event."""
    match = _PREFIX.match(line)
    if match is None:
        return None
    seq, ts, version, kind = match.groups()
    return Header(int(seq), ts.decode("ascii", "replace"), int(version), kind.decode("ascii"))


def encode(seq: int, ts: str, event: Event, blobs: Path) -> bytes:
    """The line of an event, newline included. Writes huge fields to the directory `blobs`."""
    fields = event.model_dump()
    line = _line(seq, ts, fields)
    if len(line) <= BLOB_LIMIT:
        return line
    digests: dict[str, str] = {}
    for name, value in list(fields.items()):
        if isinstance(value, str):
            if len(value) * 4 <= BLOB_LIMIT or len(data := _text_bytes(value)) <= BLOB_LIMIT:
                continue
            fields[name] = value[:BLOB_HEAD]
        elif isinstance(value, list | dict):
            data = _json(value)
            if len(data) <= BLOB_LIMIT:
                continue
            del fields[name]
        else:
            continue
        digests[name] = write_blob(blobs, data)
    return _line(seq, ts, {**fields, "blobs": digests}) if digests else line


def decode(line: bytes, blobs: Path, *, whole: bool = True) -> tuple[StoredEvent, list[str]]:
    """The event of a line, and what was wrong with its blobs.

    With `whole` false no blob is read: texts are cut to their heads, and lists left out. Raises
    DamagedLineError, and UsageError for a newer version.
    """
    try:
        fields = json.loads(line)
        seq, ts, version = fields.pop("seq"), fields.pop("ts"), fields.pop("v")
        if not (isinstance(seq, int) and isinstance(ts, str) and isinstance(version, int)):
            raise DamagedLineError("its number, time or version is wrong")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedLineError("it is not a stored event") from error
    refuse_newer(version)
    problems = []
    for name, digest in fields.pop("blobs", {}).items():
        if not whole:
            continue
        data = read_blob(blobs, digest)
        if data is None:
            problems.append(f"the blob {digest[:12]} of event {seq} is missing or damaged")
            if name in fields:
                fields[name] += "\n[… the rest is lost: its blob is missing or damaged]"
        elif name in fields:
            fields[name] = data.decode("utf-8", "surrogatepass")
        else:
            fields[name] = json.loads(data)
    try:
        return StoredEvent(seq, ts, _ADAPTER.validate_python(fields)), problems
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamagedLineError(f"it is not a known event ({where}: {first['msg']})") from error


def refuse_newer(version: int) -> None:
    """Raise UsageError when this laguna cannot read lines of this version."""
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"this session was written by a newer laguna (record version {version}; this laguna "
            f"reads up to {SCHEMA_VERSION})",
            hint="Update laguna to open it; nothing of it was changed.",
        )


def write_blob(blobs: Path, data: bytes) -> str:
    """Write a blob; returns its digest. The blob is on disk when this returns."""
    digest = hashlib.sha256(data).hexdigest()
    path = blobs / digest
    if path.exists():
        return digest
    blobs.mkdir(mode=0o700, exist_ok=True)
    atomic_write(path, data, sync=True)
    return digest


def read_blob(blobs: Path, digest: str) -> bytes | None:
    """The bytes of a blob; None when it is missing or its digest is not its name."""
    if re.fullmatch(r"[0-9a-f]{64}", digest) is None:
        return None
    try:
        data = (blobs / digest).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None


def _line(seq: int, ts: str, fields: dict[str, Any]) -> bytes:
    # `type` comes right after the header, so that readers can tell kinds apart without parsing.
    kind = fields["type"]
    rest = {name: value for name, value in fields.items() if name != "type"}
    head = {"seq": seq, "ts": ts, "v": SCHEMA_VERSION, "type": kind}
    return _json({**head, **rest}) + b"\n"


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # JSON allows these three unescaped in strings, but many readers split lines at them.
    for separator, escape in (("\u2028", "\\u2028"), ("\u2029", "\\u2029"), ("\x85", "\\u0085")):
        if separator in text:
            text = text.replace(separator, escape)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate: only an escape can carry it
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _text_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
