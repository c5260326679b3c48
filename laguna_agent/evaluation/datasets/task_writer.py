"""Writes the tasks of a suite as folders, as people write them by hand."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laguna_agent.evaluation.suite import TASK_FILE


def write_task(
    folder: Path,
    task: Mapping[str, Any],
    *,
    files: Mapping[str, str | bytes],
    hidden: Mapping[str, str | bytes] | None = None,
    solution: Mapping[str, str | bytes] | None = None,
) -> None:
    """Write a task to a new folder. `task` is what `task.toml` holds; the others are the contents
    of files by their paths, relative to the workspace. Raises ValueError if a path leaves it.
    """
    import tomlkit  # takes longer to import than most runs need it for

    folder.mkdir(parents=True)
    text = tomlkit.dumps(task)
    tomllib.loads(text)
    (folder / TASK_FILE).write_text(text, encoding="utf-8")
    for part, contents in (("files", files), ("hidden", hidden), ("solution", solution)):
        for name, content in (contents or {}).items():
            path = folder / part / name
            if not path.resolve().is_relative_to((folder / part).resolve()):
                raise ValueError(f"{name} is not inside the workspace")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
