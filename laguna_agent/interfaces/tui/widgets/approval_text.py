"""The words of an approval card: the question, what is risky, where, why, and the choices."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from laguna_agent.actions import McpPlace, action_text
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.interfaces.tui.transcript import diff_view
from laguna_agent.interfaces.tui.widgets.choice_row import Choice
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.events import ApprovalRequested

_SCOPES = {
    "session": ("this session", "in this session"),
    "repository": ("this repository", "in this repository"),
    "everywhere": ("everywhere", "in every repository"),
}

_ALLOW, _REFUSE = "Allow", "or"


_PLACES: dict[McpPlace, str] = {
    "sandbox": "in the sandbox",
    "network": "in the sandbox, with the network",
    "machine": "with your rights, without a sandbox",
    "remote": "on another machine",
}


def choices(request: ApprovalRequested) -> list[Choice]:
    """The answers: once, the scopes of the rule if there is one, no, and no with a reason."""
    risky = bool(request.risks)
    found = [Choice("once", "once", "Allows this one time.", risky, _ALLOW)]
    for scope, file in request.files.items():
        label, where = _SCOPES[scope]
        kept = f"Kept in {_from_home(file)}." if file else "Ends with the session."
        about = f"From now on, {where}: {rule(request)}. {kept}"
        found.append(Choice(scope, label, about, risky, _ALLOW))
    refusal = "Does not allow it, and tells the model that you said no."
    found.append(Choice("no", "no", refusal, group=_REFUSE))
    found.append(Choice("because", "no, because…", "Does not allow it; the model reads why.",
                        group=_REFUSE))  # fmt: skip
    return found


def rule(request: ApprovalRequested) -> str:
    """The rule that an answer for longer would add, in plain words."""
    text = visible(request.rule_text, single_line=True)
    return f"laguna may {text} without asking"


def question(
    request: ApprovalRequested, root: Path, palette: Palette, *, brief: bool = False
) -> Text:
    """What is asked, in a line; with what a change adds and removes. `brief` begins with what it is
    about, for terminals with few lines."""
    p, action = palette, request.action
    text = Text()
    if request.risks:
        text.append("⚠ ", f"bold {p.error}")
    colour = p.error if request.risks else p.warning
    match action.kind:
        case "execute" if brief:
            text.append(f"$ {visible(action.command, single_line=True)}", f"bold {colour}")
        case "write" if brief:
            text.append(relative(action.path, root), f"bold {colour}")
            _append_totals(text, action.diff, p)
        case "execute":
            asked = "Run the check of this task?" if request.tool == "done" else "Run this command?"
            text.append(asked, f"bold {colour}")
        case "write":
            new = bool(re.search(r"^@@ -0,0 ", action.diff, re.MULTILINE))
            text.append("Create " if new else "Change ", f"bold {colour}")
            text.append(f"{relative(action.path, root)}?", "bold")
            _append_totals(text, action.diff, p)
        case "read":
            text.append("Read ", f"bold {colour}").append(f"{relative(action.path, root)}?", "bold")
        case "network":
            text.append("Connect to ", f"bold {colour}").append(f"{visible(action.host)}?", "bold")
        case _:
            text.append("Allow ", f"bold {colour}")
            text.append(f"{visible(action_text(action), single_line=True)}?", "bold")
    return text


def _append_totals(text: Text, diff: str, palette: Palette) -> None:
    rows = diff_view.parse(diff)
    added, removed = (sum(row.kind == kind for row in rows) for kind in ("added", "removed"))
    if added or removed:
        text.append(f"  +{added:,}", palette.success).append(f" -{removed:,}", palette.error)
    if (files := sum(row.kind == "file" for row in rows)) > 1:
        text.append(f"  {files:,} files", palette.muted)


def risks(request: ApprovalRequested, palette: Palette) -> list[Text]:
    """What is risky, a line each."""
    return [Text(f"⚠ {visible(risk.text)}", f"bold {palette.error}") for risk in request.risks]


def subject(request: ApprovalRequested, root: Path, palette: Palette) -> list[Text]:
    """What would be done, with its risky parts in red, and where."""
    p, action = palette, request.action
    match action.kind:
        case "execute":
            command = Text(f"$ {visible(action.command)}", style=f"bold {p.foreground}")
            for risk in request.risks:
                command.highlight_words([visible(risk.part or action.command)], f"bold {p.error}")
            where = Text(f"in {_from_home(action.cwd)}", style=p.muted)
            if request.sandboxed is not None:
                inside = request.sandboxed
                text = ", in the sandbox" if inside else ", without a sandbox"
                where.append(text, p.muted if inside else p.warning)
            return [command, where]
        case "write" | "read":
            return [Text(visible(action.path), style="bold")]
        case "mcp":
            name = Text(f"{visible(action.server)}/{visible(action.tool)}", style="bold")
            return [name, Text(visible(action.arguments)), Text(_PLACES[action.place], p.muted)]
        case "mcp-tools":
            return [Text(visible(action.text))]
        case _:
            return [Text(visible(action_text(action)), style="bold")]


def why(request: ApprovalRequested, palette: Palette) -> list[Text]:
    """Why it is asked; nothing where a risk says so already."""
    rule, reason = request.decision.rule, visible(request.decision.reason)
    if any(risk.text == request.decision.reason for risk in request.risks):
        return []
    if rule.startswith("mode "):
        text = f"asked in {rule}: {reason}" if reason else f"asked in {rule}"
    elif rule.startswith("ask "):
        text = f"asked by your rule: {visible(rule)}"
    else:
        text = f"asked because {reason}" if reason else f"asked by {visible(rule)}"
    return [Text(text, style=palette.muted)]


def _from_home(path: str) -> str:
    home = os.path.expanduser("~")
    inside = path == home or path.startswith(home + os.sep)
    return visible(f"~{path[len(home) :]}" if inside else path, single_line=True)


def relative(path: str, root: Path) -> str:
    """A path inside the repository relative to it, another one whole."""
    base = os.fspath(root)
    inside = path.startswith(base + os.sep)
    return visible(path[len(base) + 1 :] if inside else path, single_line=True)
