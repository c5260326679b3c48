"""Writes docs/keys.md from the reference of the interface.

`make keys` runs this; a test checks that the document is current.
"""

from __future__ import annotations

import re
from pathlib import Path

from laguna_agent.interfaces.tui.reference import groups

DOCUMENT = Path(__file__).parents[2] / "docs" / "keys.md"
_HEAD = """\
# Keys and commands

`?` on an empty line, F1 or `/help` shows this list in the interface; typing searches it. What the
interface is, says [tui.md](tui.md). This page is made from the code by `make keys`.
"""


def document() -> str:
    """The text of the document."""
    parts = [_HEAD]
    for group, rows in groups().items():
        parts.append(
            f"\n## {group}\n| {'command' if group == 'Commands' else 'key'} | what it does |"
        )
        parts.append("|---|---|")
        for name, about in rows:
            parts.append(f"| {_code(name)} | {_cell(about)} |")
    return "\n".join(parts) + "\n"


def _code(name: str) -> str:
    return ", ".join(f"`{_cell(_key(part))}`" for part in name.split(" · "))


def _key(name: str) -> str:
    if re.fullmatch(r"(?:[a-z0-9]+\+)*(?:[a-z]{2,}|f1|[a-z])", name) and len(name) > 1:
        return "+".join(part.capitalize() for part in name.split("+"))
    return name


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
