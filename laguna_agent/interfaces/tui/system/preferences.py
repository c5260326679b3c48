"""What the interface remembers: the theme, the mouse, the side panel, prompts, the draft.

Small files in the state directory, read before the first paint and therefore without pydantic.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.interfaces.tui.system.paste_store import PasteStore, shown_text
from laguna_agent.interfaces.tui.system.prompt import Prompt
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
        self._draft = repository_state_dir(repository_root(cwd)) / "draft.json"
        self._store = PasteStore(state_dir() / "pastes")
        self._records: list[Any] = []
        with contextlib.suppress(OSError):
            # Only the end: a long history must not delay the first paint.
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 1_000_000))
                lines = file.read().split(b"\n")
            for line in lines[-MAX_PROMPTS:]:
                with contextlib.suppress(ValueError):
                    if shown_text(record := json.loads(line)) is not None:
                        self._records.append(record)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> Prompt:
        """A prompt with its pastes."""
        return self._store.prompt(self._records[number]) or Prompt("")

    @property
    def texts(self) -> list[str]:
        """The texts of all prompts, in which chips stand for pastes."""
        return [shown_text(record) or "" for record in self._records]

    def add(self, prompt: Prompt) -> None:
        """Add a prompt, unless it repeats the last one."""
        if prompt.is_empty:
            return
        record = self._store.record(prompt)
        if self._records and self._records[-1] == record:
            return
        self._records.append(record)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "ab") as file:
                file.write(json.dumps(record).encode() + b"\n")

    def load_draft(self) -> tuple[Prompt, list[Prompt]]:
        """What was typed and not sent when laguna last exited, and the messages that waited."""
        try:
            saved = json.loads(self._draft.read_bytes())
        except (OSError, ValueError):
            saved = None
        if not isinstance(saved, dict):
            return Prompt(""), []
        waiting = saved.get("waiting")
        records = [saved.get("typed"), *(waiting if isinstance(waiting, list) else [])]
        typed, *others = [self._store.prompt(record) for record in records]
        return typed or Prompt(""), [prompt for prompt in others if prompt is not None]

    def save_draft(self, typed: Prompt, waiting: Sequence[Prompt] = ()) -> None:
        """Save what is typed and what waits, so that a crash does not lose it."""
        if typed.is_empty and not waiting:
            with contextlib.suppress(OSError):
                self._draft.unlink()
            return
        records = {
            "typed": self._store.record(typed),
            "waiting": [*map(self._store.record, waiting)],
        }
        write_text(self._draft, json.dumps(records))


def write_text(path: Path, text: str) -> None:
    """Replace a small private file atomically; a failure is ignored."""
    with contextlib.suppress(OSError, UnicodeError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(path, text)
