"""The question whether to trust the repository's own settings and instructions."""

from __future__ import annotations

import shlex

from rich.text import Text

from laguna_agent.interfaces.tui.screens.dialogs import Question
from laguna_agent.policy.sanitize import visible

_FILES = 40


def trust_question(files: tuple[str, ...], *, changed: bool) -> Question:
    """Name the files and ask. `changed`: they were trusted with other content."""
    which = "have changed since you trusted them. They" if changed else "of the repository"
    text = Text(
        f"These files {which} instruct laguna and can run programs. "
        "laguna reads them only if you trust their present content:\n\n"
    )
    text.append("\n".join(visible(shlex.quote(name), single_line=True) for name in files[:_FILES]))
    if len(files) > _FILES:
        text.append(f"\nand {len(files) - _FILES} more")
    keys = {"y": "trust them", "n": "continue without them"}
    return Question("Do you trust this repository's settings?", text, keys=keys)
