"""What the interface remembers by itself: the theme, the mouse, prompts of the past, the draft.

Small files in laguna's state, read before the first paint and therefore without pydantic.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from laguna_agent.paths import repository_root, repository_state_dir, state_dir

HISTORY = 2_000
"""Prompts that are kept."""


class Preferences:
    """Choices that outlive a session. Failing to write one is not worth an error."""

    def __init__(self) -> None:
        self._path = state_dir() / "interface.json"
        data: Any = None
        with contextlib.suppress(OSError, ValueError):
            data = json.loads(self._path.read_text(encoding="utf-8"))
        known: dict[str, Any] = data if isinstance(data, dict) else {}
        theme, mouse, panel = known.get("theme"), known.get("mouse"), known.get("panel")
        self.theme: str | None = theme if isinstance(theme, str) else None
        self.mouse: bool = mouse if isinstance(mouse, bool) else True
        self.panel: bool | None = panel if isinstance(panel, bool) else None

    def save(self) -> None:
        """Write them."""
        write_text(
            self._path,
            json.dumps({"theme": self.theme, "mouse": self.mouse, "panel": self.panel}),
        )


class PromptHistory:
    """Prompts of all sessions, the newest last, and the draft of this repository."""

    def __init__(self, cwd: Path) -> None:
        self._path = state_dir() / "prompts.jsonl"
        self._draft = repository_state_dir(repository_root(cwd)) / "draft.txt"
        self.prompts: list[str] = []
        with contextlib.suppress(OSError):
            # Only the end: a history of years must not delay the first key.
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 1_000_000))
                lines = file.read().split(b"\n")
            for line in lines[-HISTORY:]:
                with contextlib.suppress(ValueError):
                    if isinstance(said := json.loads(line), str):
                        self.prompts.append(said)

    def add(self, text: str) -> None:
        """Remember a prompt; the same again is not remembered twice in a row."""
        if not text.strip() or (self.prompts and self.prompts[-1] == text):
            return
        self.prompts.append(text)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "ab") as file:
                file.write(json.dumps(text).encode() + b"\n")

    def load_draft(self) -> str:
        """What was typed and not sent when laguna ended last."""
        try:
            return self._draft.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    def save_draft(self, text: str) -> None:
        """Keep what is typed, so that a crash loses none of it."""
        if text.strip():
            write_text(self._draft, text)
        else:
            with contextlib.suppress(OSError):
                self._draft.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a small private file whole or not at all; a failure is ignored."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError, UnicodeError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o600)
        os.replace(temporary, path)
