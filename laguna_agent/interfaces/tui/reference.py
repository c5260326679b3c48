"""The reference: every key, command and mark of the interface, in one table.

The app binds its keys from it, completion and the help list it, and docs/keys.md is made from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding


@dataclass(frozen=True)
class Key:
    """A key and what it does. One without an `action` is handled by its widget."""

    keys: str
    about: str
    action: str = ""
    group: str = "Anywhere"

    @property
    def shown(self) -> str:
        """The keys as people read them."""
        return self.keys.replace(",", " · ").replace("escape", "esc").replace("underscore", "_")


@dataclass(frozen=True)
class SlashCommand:
    """A command. `when` is what it needs: nothing, an open session, or one without a turn."""

    name: str
    about: str
    arguments: str = ""
    """What may follow it: words to choose from, like `[ask|auto]`, or in capitals a text."""
    when: Literal["any", "session", "idle"] = "session"
    aliases: tuple[str, ...] = ()
    """Other names. One without a slash is a whole message."""
    in_order: bool = False
    """Whether it changes what messages after it meet: it waits behind those typed before it."""

    @property
    def shown(self) -> str:
        """The command with its arguments."""
        return f"{self.name} {self.arguments}".strip()

    @property
    def explained(self) -> str:
        """What it does, and its other names."""
        return f"{self.about}; also {', '.join(self.aliases)}" if self.aliases else self.about

    def refuses(self, argument: str) -> str:
        """Why it cannot run with this argument; empty when it can."""
        if not argument:
            return ""
        if not self.arguments:
            return f"{self.name} takes nothing after it, so it did not run: {argument[:60]}"
        choices = self.arguments.strip("[]")
        if choices == choices.lower() and argument not in choices.split("|"):
            *others, last = choices.split("|")
            wanted = f"{', '.join(others)} or {last}" if others else last
            return f"{self.name} takes {wanted}, not {argument[:60]}"
        return ""


KEYS: tuple[Key, ...] = (
    Key("enter", "send; while laguna works, steer it before its next step", group="Composer"),
    Key("alt+enter", "send when the turn has ended", group="Composer"),
    Key("shift+enter,ctrl+j", "new line; also \\ and enter", group="Composer"),
    Key("up,down", "earlier and later prompts, from the first and last line", group="Composer"),
    Key("tab", "accept the completion; with nothing typed, a suggestion", group="Composer"),
    Key("?", "this help, on an empty line", group="Composer"),
    Key("ctrl+r", "search earlier prompts", "search_history", group="Composer"),
    Key("ctrl+g", "edit in your editor ($VISUAL, $EDITOR)", "external_editor", group="Composer"),
    Key("ctrl+underscore", "undo the last edit", group="Composer"),
    Key("ctrl+y", "redo it", group="Composer"),
    Key("alt+up", "go to the messages that wait", "show_waiting", group="Waiting messages"),
    Key("up,down", "choose one", group="Waiting messages"),
    Key("enter", "edit it in the composer", group="Waiting messages"),
    Key("delete,backspace,d", "remove it; up in the composer recalls it",
        group="Waiting messages"),
    Key("alt+up,alt+down", "move it", group="Waiting messages"),
    Key("enter", "on an empty line: send the messages that are held", group="Composer"),
    Key("enter", "on an empty line: give it the terminal", group="While a ! command runs"),
    Key("escape,ctrl+c", "end it, and what it started", group="While a ! command runs"),
    Key("escape", "close what is open, deny, or stop what runs", "escape"),
    Key("shift+tab", "next mode: ask, accept-edits, auto, plan", "next_mode"),
    Key("ctrl+c", "copy the selection, clear the input, stop, or exit", "interrupt"),
    Key("ctrl+d", "exit, if nothing is typed", "leave"),
    Key("ctrl+z", "suspend laguna; fg in the shell resumes it", "suspend_laguna"),
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
    Key("up,k", "the message above", group="Selected message"),
    Key("down,j", "the message below", group="Selected message"),
    Key("home,g", "the first message", group="Selected message"),
    Key("end,G", "the end", group="Selected message"),
    Key("enter,space", "expand or collapse it", group="Selected message"),
    Key("c", "copy it", group="Selected message"),
    Key("x", "copy its next code block", group="Selected message"),
    Key("n,N", "previous and next match of the search", group="Selected message"),
    Key("right,left,tab", "choose an answer: once, for longer, no", group="Approval and questions"),
    Key("enter", "answer as chosen; letters never answer", group="Approval and questions"),
    Key("escape", "deny", group="Approval and questions"),
    Key("up,down,pageup,pagedown", "scroll what is asked", group="Approval and questions"),
    Key("ctrl+up", "scroll it up by three lines", "scroll_approval(-3)",
        group="Approval and questions"),
    Key("ctrl+down", "scroll it down by three lines", "scroll_approval(3)",
        group="Approval and questions"),
    Key("escape,q,enter,f1", "close a page; esc closes a list or a question, too", group="Dialogs"),
    Key("up,down,j,k", "scroll a page by lines, or choose in a list", group="Dialogs"),
    Key("pageup,pagedown,space,home,end", "scroll further", group="Dialogs"),
)  # fmt: skip
ACTIONS = frozenset(key.action.partition("(")[0] for key in KEYS if key.action)

COMMANDS: tuple[SlashCommand, ...] = (
    SlashCommand("/help", "keys and commands", when="any", aliases=("help", "?", "/?", "/keys")),
    SlashCommand("/model", "choose a model: installed, from the catalogue, on a server", "[NAME]",
            "idle", aliases=("/models",)),
    SlashCommand("/mode", "what laguna does without asking",
            "[ask|accept-edits|auto|plan|allow-all]", in_order=True),
    SlashCommand("/permissions", "what was allowed, how long and where it is kept; take it back",
            aliases=("/allowed", "/rules")),
    SlashCommand("/plan", "plan without changes; again to see the plan that waits", "[TEXT]",
            in_order=True),
    SlashCommand("/check", "a command that must succeed before a task is done; off ends it",
            "[COMMAND|off]", in_order=True),
    SlashCommand("/compact", "summarise to free the context", "[WHAT TO KEEP]", "idle",
            aliases=("/summarize",), in_order=True),
    SlashCommand("/new", "start a new conversation", when="idle", aliases=("/clear", "/reset"),
            in_order=True),
    SlashCommand("/resume", "resume an earlier conversation", "[ID]", "idle",
            aliases=("/sessions", "/continue")),
    SlashCommand("/fork", "continue in a copy of this conversation", when="idle", in_order=True),
    SlashCommand("/rewind", "go back to before a message, with or without the files", when="idle"),
    SlashCommand("/undo", "take back what turns changed in files, after showing it", when="idle"),
    SlashCommand("/redo", "make again what an undo took back", when="idle"),
    SlashCommand("/diff", "changes since the last commit", when="any"),
    SlashCommand("/context", "what fills the context, by part"),
    SlashCommand("/experts", "which experts the last reply chose, and what that says of placement",
            when="idle"),
    SlashCommand("/usage", "tokens and time of this conversation", aliases=("/cost", "/stats")),
    SlashCommand("/memory", "what laguna remembers of earlier work", when="any"),
    SlashCommand("/mcp", "the MCP servers: their state and their tools"),
    SlashCommand("/prompts", "the prompt pack; reload starts a new conversation with edited files",
            "[reload]"),
    SlashCommand("/init", "let laguna write an AGENTS.md", when="idle", in_order=True),
    SlashCommand("/export", "write this conversation to a file", "[FILE.md|.html|.json]"),
    SlashCommand("/copy", "copy the last answer, or a code block of it", "[code]", "any"),
    SlashCommand("/theme", "choose the colours", "[NAME]", "any", aliases=("/themes",)),
    SlashCommand("/rename", "give this conversation a title", "[TITLE]"),
    SlashCommand("/doctor", "check what works here and what does not", when="any"),
    SlashCommand("/exit", "exit", when="any",
            aliases=("/quit", "/q", "exit", "quit", ":q", ":wq", ":q!", ":x")),
)  # fmt: skip

MARKS: tuple[tuple[str, str], ...] = (
    ("/command", "a command or a skill"),
    ("@name", "a file or symbol of the repository"),
    ("!command", "run a command; the model sees its output with your next message"),
    ("#text", "add a line to your AGENTS.md, which new conversations read"),
)
"""What the beginning of a word or message means."""

_BY_NAME = {name: one for one in COMMANDS for name in (one.name, *one.aliases)}


def command_of(text: str) -> tuple[SlashCommand | None, str]:
    """The command that a message calls, and its argument. A word without a slash is a command
    only as the whole message."""
    name, argument = [*text.split(None, 1), "", ""][:2]
    if not name.startswith("/") and argument:
        return None, ""
    return _BY_NAME.get(name if name.startswith("/") else name.lower()), argument.strip()


def nearest(name: str, others: Iterable[str] = ()) -> str | None:
    """The command, or one of `others`, whose name is nearest to one that does not exist."""
    known = [one for one in (*_BY_NAME, *others) if one.startswith("/")]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    close.sort(key=lambda one: sorted(one) != sorted(name))  # letters that changed places
    begun = [one for one in known if one.startswith(name)]
    return next(iter([*begun, *close]), None)


def bindings() -> list[Binding]:
    """Bindings of the keys that the app handles before the focused widget does."""
    return [
        Binding(key.keys, key.action, key.about, show=False, priority=True)
        for key in KEYS
        if key.action
    ]


def keys_of(group: str) -> frozenset[str]:
    """The keys that a widget handles, by their group."""
    return frozenset(
        name
        for key in KEYS
        if key.group == group and not key.action
        for name in key.keys.split(",")
    )


def groups(skills: Iterable[SlashCommand] = ()) -> dict[str, list[tuple[str, str]]]:
    """All of it as (name, what it does), by group: for the help and the document."""
    found: dict[str, list[tuple[str, str]]] = {}
    for key in KEYS:
        found.setdefault(key.group, []).append((key.shown, key.about))
    found["Commands"] = [(one.shown, one.explained) for one in COMMANDS]
    if rows := [(one.shown, one.about) for one in skills]:
        found["Skills"] = rows
    found["At the beginning of a word or message"] = list(MARKS)
    return found


_SAME = {
    "laguna undo --list": "/undo",
    "laguna models list --installed": "/model",
    "laguna models list": "/model",
    "laguna sessions list": "/resume",
    "laguna memory list": "/memory",
    "laguna doctor": "/doctor",
}
"""Commands of the command line that messages name, and what does the same in the interface."""


def in_the_interface(text: str) -> str:
    """A message with the interface's own commands in the place of the command line's."""
    for typed, own in _SAME.items():
        text = text.replace(f"`{typed}`", f"`{own}`")
    return text
