"""Words that headless progress and the terminal interface share. It imports nothing."""

from __future__ import annotations


def beside(title: str, summary: str) -> str:
    """A result's summary without the name that already stands in the title of its call."""
    name = title.partition(" ")[2]
    rest = summary.removeprefix(name).strip() if name else summary
    if rest == summary or not summary[len(name) :].startswith((" ", ":")):
        return summary if summary != name else ""
    rest = rest.removeprefix(":").strip()
    return rest[1:-1] if rest.startswith("(") and rest.endswith(")") else rest
