"""The key table: the app binds its keys from it, and /help shows it."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True)
class Key:
    """A key and what it does. One without an `action` is handled by its widget."""

    keys: str
    about: str
    action: str = ""
    group: str = "Anywhere"


KEYS: tuple[Key, ...] = (
    Key("enter", "send; while laguna works, steer it before its next step", group="Composer"),
    Key("alt+enter", "queue: send when the turn has ended", group="Composer"),
    Key("shift+enter,ctrl+j", "new line", group="Composer"),
    Key("up,down", "earlier and later prompts, from the first and last line", group="Composer"),
    Key("tab", "accept the completion", group="Composer"),
    Key("ctrl+r", "search earlier prompts", "search_history", group="Composer"),
    Key("ctrl+g", "edit in your editor ($VISUAL, $EDITOR)", "external_editor", group="Composer"),
    Key("ctrl+z,ctrl+y", "undo, redo", group="Composer"),
    Key("alt+up", "take back the last queued message and edit it", "take_back", group="Composer"),
    Key("escape", "close what is open, deny, or stop what runs", "escape"),
    Key("shift+tab", "next mode: ask, accept-edits, auto", "next_mode"),
    Key("ctrl+c", "copy the selection, clear the input, stop, or exit", "interrupt"),
    Key("ctrl+d", "exit, if nothing is typed", "leave"),
    Key("ctrl+b", "side panel", "toggle_panel"),
    Key("ctrl+o", "expand or collapse the last tool call", "toggle_last('tool')"),
    Key("ctrl+t", "expand or collapse the last thinking", "toggle_last('thinking')"),
    Key("alt+c", "copy a code block of the last answer", "copy_code"),
    Key("ctrl+s", "search the transcript", "search"),
    Key("ctrl+n", "mouse: laguna's, or your terminal's own selection", "toggle_mouse"),
    Key("ctrl+l", "redraw the screen", "redraw"),
    Key("f1", "this help", "help"),
    Key("pageup", "page up", "page(-1)", group="Transcript"),
    Key("pagedown", "page down", "page(1)", group="Transcript"),
    Key("shift+up", "select the message above", "select(-1)", group="Transcript"),
    Key("shift+down", "select the message below", "select(1)", group="Transcript"),
    Key("ctrl+end", "go to the end", "to_end", group="Transcript"),
    Key("enter,space", "expand or collapse the selected message", group="Transcript"),
    Key("c", "copy the selected message", group="Transcript"),
    Key("x", "copy its next code block", group="Transcript"),
    Key("n,N", "previous and next match of the search", group="Transcript"),
    Key("y", "allow once", group="Approval"),
    Key("a", "allow for this session, by the rule that is shown", group="Approval"),
    Key("n,escape", "deny", group="Approval"),
    Key("r", "deny, with a reason for the model", group="Approval"),
    Key("ctrl+up", "scroll the request up", "scroll_approval(-3)", group="Approval"),
    Key("ctrl+down", "scroll the request down", "scroll_approval(3)", group="Approval"),
)
ACTIONS = frozenset(key.action.partition("(")[0] for key in KEYS if key.action)


def bindings() -> list[Binding]:
    """Bindings of the keys that the app handles before the focused widget does."""
    return [
        Binding(key.keys, key.action, key.about, show=False, priority=True)
        for key in KEYS
        if key.action
    ]


def help_rows() -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of (keys, what they do), as /help shows them."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for key in KEYS:
        shown = key.keys.replace(",", " · ").replace("escape", "esc")
        groups.setdefault(key.group, []).append((shown, key.about))
    return list(groups.items())
