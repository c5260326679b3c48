"""Wording that headless progress, the terminal interface and the subcommands share."""

from __future__ import annotations

from datetime import datetime


def short_summary(title: str, summary: str) -> str:
    """A tool result's summary without the name that the title of its call already shows."""
    name = title.partition(" ")[2]
    rest = summary.removeprefix(name).strip() if name else summary
    if rest == summary or not summary[len(name) :].startswith((" ", ":")):
        return summary if summary != name else ""
    rest = rest.removeprefix(":").strip()
    return rest[1:-1] if rest.startswith("(") and rest.endswith(")") else rest


def age(when: str, now: datetime) -> str:
    """How long ago an ISO time was, in a few characters: `3h`."""
    try:
        seconds = (now - datetime.fromisoformat(when)).total_seconds()
    except (ValueError, TypeError):
        return "?"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return "now"
