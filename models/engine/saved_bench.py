"""Results of `laguna bench` that are kept, one per model, machine and build of llama.cpp."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.errors import LagunaError
from laguna_agent.models.engine.bench import BenchReport, Figure
from laguna_agent.models.sizing.hardware import machine
from laguna_agent.paths import data_dir

_LESS_IS_BETTER = {"s", "GB"}


def content(report: BenchReport) -> dict[str, Any]:
    """A report as JSON, with the machine and the time."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "model": report.model,
        "figures": [asdict(figure) for figure in report.figures],
        "left_out": report.left_out,
    }


def save(report: BenchReport) -> Path:
    """Keep a report, in the place of an earlier one of the same model, machine and build."""
    found = content(report)
    build = hashlib.sha256(f"{found['machine']} {report.model['build']}".encode()).hexdigest()[:8]
    path = _directory() / f"{_name(report.model)}-{build}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(found, indent=1))
    return path


def load(path: Path) -> dict[str, Any]:
    """A result from a file. Raises LagunaError when it is none."""
    try:
        found = json.loads(path.read_text())
        figures = {figure["name"]: Figure(**figure) for figure in found["figures"]}
        return {**found, "figures": figures, "build": found["model"]["build"]}
    except OSError as error:
        raise LagunaError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LagunaError(f"{path} holds no result of `laguna bench --json`") from error


def last(model: Path) -> Path:
    """The result of a model that was saved last on this machine. Raises LagunaError for none."""
    found = [
        path
        for path in _directory().glob(f"{_name({'path': str(model)})}-????????.json")
        if load(path).get("machine") == machine()
    ]
    if not found:
        raise LagunaError(
            f"there is no saved result of {model.stem} on this machine",
            hint="Save one with `laguna bench --save`, or name a file.",
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def change(figure: Figure, before: Figure | None) -> tuple[float, bool] | None:
    """The change relative to an earlier figure, and whether it is worse by more than the spread
    of both. None when they cannot be compared."""
    if before is None or before.unit != figure.unit or not before.value:
        return None
    relative = figure.value / before.value - 1
    if figure.low is None or figure.high is None or before.low is None or before.high is None:
        return relative, False
    if figure.unit in _LESS_IS_BETTER:
        return relative, figure.low > before.high
    return relative, figure.high < before.low


def _directory() -> Path:
    return data_dir() / "bench"


def _name(model: dict[str, Any]) -> str:
    return re.sub(r"[^\w.-]", "_", Path(model["path"]).stem)
