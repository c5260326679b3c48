"""Edits a text in the user's editor."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laguna_agent.errors import LagunaError
from laguna_agent.interfaces.tui.system.suspension import run_suspended
from laguna_agent.programs import user_command

if TYPE_CHECKING:
    from textual.app import App


def edit_externally(app: App[Any], text: str, configured: str | None) -> str:
    """Suspend the interface and edit `text`; returns the edited text. Raises LagunaError."""
    editor = configured or os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="laguna-") as folder:
        path = Path(folder, "prompt.md")
        path.write_text(text, encoding="utf-8")

        def edit() -> None:
            status = subprocess.run([*user_command(editor), str(path)], check=False).returncode
            if status:
                raise LagunaError(f"exit {status}")

        try:
            run_suspended(app, edit)
        except (OSError, LagunaError) as error:
            raise LagunaError(f"the editor `{editor}` failed: {error}",
                              hint="Set $VISUAL or $EDITOR to another one.") from error  # fmt: skip
        return path.read_text(encoding="utf-8", errors="replace").rstrip()
