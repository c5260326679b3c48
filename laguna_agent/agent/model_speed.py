"""How fast a model reads and writes on this machine or its server, as it was measured."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import NamedTuple

from laguna_agent.errors import LagunaError
from laguna_agent.models.conversation import ModelInfo

_SESSIONS, _EVENTS = 6, 400
"""Sessions that are looked at, the latest first, and events of each from its end."""
_READ, _WRITTEN = 64, 24
"""Tokens from which on a rate is believed."""


class ModelSpeed(NamedTuple):
    """Tokens per second; 0 is not measured."""

    reads: float = 0.0
    writes: float = 0.0


def measured_speed(info: ModelInfo, root: Path) -> ModelSpeed:
    """The speed of a model in the latest sessions of the repository at `root`; before any, as its
    engine measured it when it was loaded. Reads files, and asks engines that run."""
    found = _in_sessions(info, root)
    if info.sha256 and not (found.reads and found.writes):
        from laguna_agent.models.engine import registry

        for key in registry.running_keys():
            state = registry.status(key) or {}
            if (state.get("model") or {}).get("sha256") == info.sha256:
                tuning = state.get("tuning") or {}
                batch, single = tuning.get("batch_rate", 0.0), tuning.get("decode_rate", 0.0)
                return ModelSpeed(found.reads or batch, found.writes or single)
    return found


def _in_sessions(info: ModelInfo, root: Path) -> ModelSpeed:
    from laguna_agent.events import Reply
    from laguna_agent.trajectory.index import SessionIndex
    from laguna_agent.trajectory.reader import read_events

    read = written = 0
    read_s = written_s = 0.0
    try:
        with SessionIndex(root) as index:
            rows = (row for row in index.rows(limit=50) if row.get("model") == info.name)
            for row in islice(rows, _SESSIONS):
                start = max(1, row.get("events", 0) - _EVENTS)
                directory = index.sessions_dir / row["id"]
                first = start == 1
                for stored in read_events(directory, start, whole=False, problems=[], kind="reply"):
                    reply = stored.event
                    if not isinstance(reply, Reply):
                        continue
                    usage, timings = reply.usage, reply.timings
                    # Some servers do not tell what they reused: of these only the first counts.
                    tells = first or usage.reused_tokens > 0
                    first = False
                    if tells and usage.prefilled_tokens >= _READ and timings.prefill_s > 0:
                        read, read_s = read + usage.prefilled_tokens, read_s + timings.prefill_s
                    if usage.completion_tokens >= _WRITTEN and timings.decode_s > 0:
                        written += usage.completion_tokens
                        written_s += timings.decode_s
    except (OSError, LagunaError):
        pass
    return ModelSpeed(read / read_s if read_s else 0.0, written / written_s if written_s else 0.0)
