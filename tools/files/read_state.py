"""What the model has seen of each file: the hash that an edit is checked against.

Every read, write and edit records the file's hash. A change made by someone else since then is
noticed by the hash, however alike size and time are, and what changed can be shown.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

from laguna_agent.tools.files.workspace import WorkspacePath
from laguna_agent.tools.tool import ToolContext

_KEPT_BYTES = 32 << 20
_KEY = "files.seen"


def digest(data: bytes) -> str:
    """The hash that identifies content."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


@dataclass
class ReadState:
    """One file as the model knows it."""

    hash: str
    data: bytes | None
    """The content, for showing what changed; None when it was dropped to save memory."""
    lines: set[int] = field(default_factory=set)
    whole: bool = False
    """True when every line was shown."""


class _ReadStates:
    def __init__(self) -> None:
        self.files: OrderedDict[str, ReadState] = OrderedDict()
        self.lock = Lock()
        self.kept = 0

    def put(self, key: str, state: ReadState) -> None:
        with self.lock:
            old = self.files.pop(key, None)
            if old is not None and old.data is not None:
                self.kept -= len(old.data)
            self.files[key] = state
            self.kept += len(state.data or b"")
            for other in self.files.values():
                if self.kept <= _KEPT_BYTES:
                    break
                if other.data is not None:
                    self.kept -= len(other.data)
                    other.data = None


def _store(context: ToolContext) -> _ReadStates:
    store = context.state.setdefault(_KEY, _ReadStates())
    assert isinstance(store, _ReadStates)
    return store


def known_state(context: ToolContext, target: WorkspacePath) -> ReadState | None:
    """What is known of the file, None when it was never shown."""
    return _store(context).files.get(str(target.path))


def record_shown(
    context: ToolContext,
    target: WorkspacePath,
    data: bytes,
    *,
    lines: range | None = None,
    total: int | None = None,
) -> None:
    """Note that the file's content is `data` and that `lines` of it (1-based) were shown.

    Without `lines` all of it is known. With them, it is `whole` once `total` lines were shown.
    """
    hash_ = digest(data)
    known = known_state(context, target)
    shown: set[int] = set()
    whole = lines is None
    if lines is not None:
        same = known is not None and known.hash == hash_
        shown = set(lines) | (known.lines if same and known else set())
        whole = (same and known is not None and known.whole) or (
            total is not None and len(shown) >= total
        )
    _store(context).put(str(target.path), ReadState(hash_, data, shown, whole))


def record_written(
    context: ToolContext, target: WorkspacePath, data: bytes, *, whole: bool = False
) -> None:
    """Note the content after laguna's own change, or one that was shown; `whole` stays true."""
    known = known_state(context, target)
    known_whole = whole or (known is not None and known.whole)
    _store(context).put(str(target.path), ReadState(digest(data), data, set(), known_whole))


def forget_all(context: ToolContext) -> None:
    """Drop what is known of every file, for a conversation that went back to before it was."""
    context.state.pop(_KEY, None)


def forget(context: ToolContext, target: WorkspacePath) -> None:
    """Drop what is known, for a file that was restored or removed on a person's word."""
    _store(context).files.pop(str(target.path), None)
