"""Keeps pasted texts in files, named by their digest, for the prompts of the history and drafts.

A paste may be as long as a log. Kept apart, it slows neither the start nor the saving of a draft.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.interfaces.tui.system.prompt import CHIP, Prompt

MOST_FILES, MOST_BYTES = 400, 64 << 20
"""The latest pastes that are kept."""
LOST = "(a pasted text that is no longer kept)"
"""Stands for a paste whose file is gone: never a chip, which would say nothing."""


class PasteStore:
    """The pastes in a folder. Failing to keep one is not reported: it is lost with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[str, str] = {}
        """Of texts that are saved already."""

    def record(self, prompt: Prompt) -> Any:
        """A prompt as JSON: a string, or its text and the digests of its pastes."""
        if not CHIP.search(prompt.text):
            return prompt.text
        pastes = {chip: self._save(text) for chip, text in prompt.pastes.items()}
        return {"text": prompt.text, "pastes": pastes}

    def prompt(self, record: Any) -> Prompt | None:
        """The prompt of a record; None for what is none."""
        if isinstance(record, str):  # may have been written without its pastes
            return Prompt(CHIP.sub(LOST, record))
        text = shown_text(record)
        if text is None:
            return None
        digests = record.get("pastes")
        pastes: dict[str, str] = {}
        for chip, digest in digests.items() if isinstance(digests, Mapping) else ():
            pasted = self._load(str(digest))
            if pasted is None:
                text = text.replace(chip, LOST)
            else:
                pastes[chip] = pasted
        return Prompt(text, pastes)

    def _save(self, text: str) -> str:
        if (digest := self._digests.get(text)) is not None:
            return digest
        data = text.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(data).hexdigest()[:32]
        path = self._folder / digest
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.exists():
                os.utime(path)
            else:
                atomic_write(path, data)
                self._remove_oldest()
            self._digests[text] = digest
        return digest

    def _load(self, digest: str) -> str | None:
        if not digest.isalnum():
            return None
        try:
            return (self._folder / digest).read_bytes().decode("utf-8", "surrogatepass")
        except (OSError, UnicodeError):
            return None

    def _remove_oldest(self) -> None:
        found = []
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):  # another laguna may remove it
                stat = path.stat()
                found.append((stat.st_mtime, stat.st_size, path))
        size = 0
        for number, (_, bytes_, path) in enumerate(sorted(found, reverse=True)):
            size += bytes_
            if number >= MOST_FILES or size > MOST_BYTES:
                with contextlib.suppress(OSError):
                    path.unlink()


def shown_text(record: Any) -> str | None:
    """The text of a record, with its chips; None for what is no prompt."""
    if isinstance(record, str):
        return record
    text = record.get("text") if isinstance(record, dict) else None
    return text if isinstance(text, str) else None
