"""Which content of each file the model has read, so that edits of stale content are refused.

Every read, write and edit records the file's hash. A later change by anyone else is detected by
the hash, even with the same size and time, and its difference can be shown.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from threading import Lock

from laguna_agent.tools.files.workspace import WorkspacePath
from laguna_agent.tools.tool import ToolContext

_KEPT_BYTES = 32 << 20
_KEY = "files.read_state"


def digest(data: bytes) -> str:
    """The hash that identifies content."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


@dataclass
class ReadState:
    """One file as the model has read it."""

    hash: str
    data: bytes | None
    """The content, to show what changed; None if dropped to save memory."""
    lines: set[int] = field(default_factory=set)
    whole: bool = False
    """True if every line was shown."""


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
    """What the model has read of the file; None if nothing."""
    return _store(context).files.get(str(target.path))


def record_shown(
    context: ToolContext,
    target: WorkspacePath,
    data: bytes,
    *,
    lines: Collection[int] | None = None,
    total: int | None = None,
) -> None:
    """Record that the file's content is `data` and that `lines` of it (1-based) were shown.

    Without `lines` all of it was. With them, it is `whole` once `total` lines were shown.
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
    """Record the content after a change by laguna, or in a refusal; keeps `whole` if true."""
    known = known_state(context, target)
    known_whole = whole or (known is not None and known.whole)
    _store(context).put(str(target.path), ReadState(digest(data), data, set(), known_whole))


def forget_all(context: ToolContext) -> None:
    """Forget all files, after the conversation was rewound to before they were read."""
    context.state.pop(_KEY, None)


def forget(context: ToolContext, target: WorkspacePath) -> None:
    """Forget a file that the user restored or removed."""
    _store(context).files.pop(str(target.path), None)
