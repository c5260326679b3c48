"""Every key, in one table: the app binds it from here and /help prints it."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True)
class Key:
    """A key and what it does. Without an `action` a widget handles it by itself."""

    keys: str
    about: str
    action: str = ""
    group: str = "Anywhere"
    priority: bool = True


KEYS: tuple[Key, ...] = (
    Key("enter", "send; while laguna works: steer it, before its next step", group="Composer"),
    Key("alt+enter", "queue: sent when the turn has ended", group="Composer"),
    Key("shift+enter,ctrl+j", "new line", group="Composer"),
    Key("up,down", "earlier and later prompts, at the first and last line", group="Composer"),
    Key("tab", "take the completion", group="Composer"),
    Key("ctrl+r", "search earlier prompts", "search_history", group="Composer"),
    Key("ctrl+g", "write in your editor ($VISUAL, $EDITOR)", "external_editor", group="Composer"),
    Key("ctrl+z,ctrl+y", "undo, redo", group="Composer"),
    Key("alt+up", "take back the last queued message to edit it", "take_back", group="Composer"),
    Key("escape", "stop what is going on; close what is open; say no", "escape"),
    Key("shift+tab", "next mode: ask, accept-edits, auto", "next_mode"),
    Key("ctrl+c", "copy the selection; else clear what is typed; else leave", "interrupt"),
    Key("ctrl+d", "leave, when nothing is typed", "leave"),
    Key("ctrl+b", "side panel", "toggle_panel"),
    Key("ctrl+o", "open or close the last tool call", "toggle_last('tool')"),
    Key("ctrl+t", "open or close the last thinking", "toggle_last('thinking')"),
    Key("ctrl+s", "search the transcript", "search"),
    Key("ctrl+n", "mouse: laguna's or your terminal's own selection", "toggle_mouse"),
    Key("ctrl+l", "draw everything again", "redraw"),
    Key("f1", "this help", "help"),
    Key("pageup", "a page back", "page(-1)", group="Transcript"),
    Key("pagedown", "a page on", "page(1)", group="Transcript"),
    Key("shift+up", "choose the message above", "choose(-1)", group="Transcript"),
    Key("shift+down", "choose the message below", "choose(1)", group="Transcript"),
    Key("ctrl+end", "to the end", "to_end", group="Transcript"),
    Key("enter,space", "open or close the chosen message", group="Transcript"),
    Key("c", "copy the chosen message", group="Transcript"),
    Key("x", "copy its (next) code block", group="Transcript"),
    Key("n,N", "next match of the search, back and on", group="Transcript"),
    Key("y", "once", group="Approval"),
    Key("a", "always: writes the rule that is shown", group="Approval"),
    Key("n,escape", "no", group="Approval"),
    Key("r", "no, with a reason for the model", group="Approval"),
    Key("ctrl+up", "scroll what is asked back", "scroll_asked(-3)", group="Approval"),
    Key("ctrl+down", "scroll what is asked on", "scroll_asked(3)", group="Approval"),
)


def bindings() -> list[Binding]:
    """The keys that the app handles, before the widget that has the focus."""
    return [
        Binding(key.keys, key.action, key.about, show=False, priority=key.priority)
        for key in KEYS
        if key.action
    ]


def help_rows() -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of (keys, what they do), as /help prints them."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for key in KEYS:
        shown = key.keys.replace(",", " · ").replace("escape", "esc")
        groups.setdefault(key.group, []).append((shown, key.about))
    return list(groups.items())
