"""The question whether to trust the repository's own settings and instructions."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.text import Text

from laguna_agent.interfaces.tui.screens.dialogs import Question
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.policy.trust import Content

_FILES = 40


def trust_question(content: Content, *, changed: bool) -> Question:
    """Name the files and the commands that they run, and ask. `changed`: they were trusted with
    other content."""
    files, commands = content.files, content.commands
    which = "have changed since you trusted them. They" if changed else "of the repository"
    text = Text(
        f"These files {which} instruct laguna and can run programs. "
        "laguna reads them only if you trust their present content:\n\n"
    )
    text.append("\n".join(visible(shlex.quote(name), single_line=True) for name in files[:_FILES]))
    if len(files) > _FILES:
        text.append(f"\nand {len(files) - _FILES} more")
    if commands:
        shown = [visible(command, single_line=True) for _, command in commands[:_FILES]]
        more = [f"and {len(commands) - _FILES} more"] if len(commands) > _FILES else []
        text.append("\n\nThey run these commands:\n\n" + "\n".join([*shown, *more]))
    choices = {"trust": "trust them", "leave": "continue without them"}
    return Question("Do you trust this repository's settings?", text, choices=choices)
