"""Wording that headless progress, the terminal interface and the subcommands share."""

from __future__ import annotations

from datetime import datetime

INIT_PROMPT = (
    "Look at this repository and write an AGENTS.md at its root for coding agents that will work "
    "here: what it is, how it is laid out, how to build, test and lint it (the exact commands), "
    "and the conventions that its code follows. Keep it under 60 lines, and write only what you "
    "have seen in the files. If there is one already, improve it."
)

_NOTES = {
    "compaction": "asked the model for a summary",
    "interrupted": "told the model that you stopped the last turn",
    "bad call": "asked the model to repeat a call that could not be read",
    "no usable call": "asked the model to call a tool, or to say that it is done",
    "loop": "told the model that it repeats itself",
    "again": "asked the model to start over",
    "example": "told the model that an example in the documentation fails",
    "plan": "asked the model to plan and change nothing",
    "act": "told the model that planning has ended",
    "plan ended": "told the model that planning has ended",
    "instructions": "gave the model the instructions of this folder",
    "check": "told the model that the check passes",
    "limit": "told the model how many steps are left",
    "reminder": "reminded the model",
    "hook": "gave the model the output of a hook",
    "undone": "told the model which changes you took back",
    "redone": "told the model which changes you made again",
}


def note_title(reason: str) -> str:
    """What laguna's own message to the model is about, in a line."""
    return _NOTES.get(reason, f"note to the model: {reason}")


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
