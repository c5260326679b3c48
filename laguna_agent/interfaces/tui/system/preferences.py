"""What the interface remembers: the theme, the mouse, the side panel, prompts, the draft.

Small files in the state directory, read before the first paint and therefore without pydantic.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.paths import repository_root, repository_state_dir, state_dir

MAX_PROMPTS = 2_000


class Preferences:
    """The user's choices in the interface. Failing to save one is not reported."""

    def __init__(self) -> None:
        self._path = state_dir() / "interface.json"
        data: Any = None
        with contextlib.suppress(OSError, ValueError):
            data = json.loads(self._path.read_text(encoding="utf-8"))
        saved: dict[str, Any] = data if isinstance(data, dict) else {}
        theme, mouse, panel = saved.get("theme"), saved.get("mouse"), saved.get("panel")
        self.theme: str | None = theme if isinstance(theme, str) else None
        self.mouse: bool = mouse if isinstance(mouse, bool) else True
        self.panel: bool | None = panel if isinstance(panel, bool) else None

    def save(self) -> None:
        """Save them."""
        write_text(
            self._path,
            json.dumps({"theme": self.theme, "mouse": self.mouse, "panel": self.panel}),
        )


class PromptHistory:
    """The prompts of all sessions, the latest last, and the draft of this repository."""

    def __init__(self, cwd: Path) -> None:
        self._path = state_dir() / "prompts.jsonl"
        self._draft = repository_state_dir(repository_root(cwd)) / "draft.txt"
        self.prompts: list[str] = []
        with contextlib.suppress(OSError):
            # Only the end: a long history must not delay the first paint.
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 1_000_000))
                lines = file.read().split(b"\n")
            for line in lines[-MAX_PROMPTS:]:
                with contextlib.suppress(ValueError):
                    if isinstance(prompt := json.loads(line), str):
                        self.prompts.append(prompt)

    def add(self, text: str) -> None:
        """Add a prompt, unless it repeats the last one."""
        if not text.strip() or (self.prompts and self.prompts[-1] == text):
            return
        self.prompts.append(text)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "ab") as file:
                file.write(json.dumps(text).encode() + b"\n")

    def load_draft(self) -> str:
        """The text that was typed and not sent when laguna last exited."""
        try:
            return self._draft.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    def save_draft(self, text: str) -> None:
        """Save the typed text, so that a crash does not lose it."""
        if text.strip():
            write_text(self._draft, text)
        else:
            with contextlib.suppress(OSError):
                self._draft.unlink()


def write_text(path: Path, text: str) -> None:
    """Replace a small private file atomically; a failure is ignored."""
    with contextlib.suppress(OSError, UnicodeError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(path, text)
