"""Tracks what earlier commands may have redefined in the persistent shell.

A command is analysed by its words, and a function, an alias, an exported variable or a shell
option can change their meaning. After a command that may have defined one, commands that look
read-only are no longer trusted to be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from laguna_agent.policy.shell_syntax import SimpleCommand, parse
from laguna_agent.policy.wrappers import unwrap

_CHANGES_STATE = frozenset(
    {
        ".",
        "bind",
        "builtin",
        "caller",
        "command",
        "complete",
        "compopt",
        "coproc",
        "declare",
        "disown",
        "enable",
        "eval",
        "exec",
        "export",
        "fc",
        "getopts",
        "hash",
        "history",
        "let",
        "local",
        "mapfile",
        "read",
        "readarray",
        "readonly",
        "set",
        "shift",
        "shopt",
        "source",
        "suspend",
        "trap",
        "typeset",
        "unset",
    }
)
_SAFE_EXPORTS = frozenset(
    {
        "CI",
        "DEBUG",
        "NODE_ENV",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
        "RUST_BACKTRACE",
        "RUST_LOG",
        "RAILS_ENV",
        "GOFLAGS",
        "VERBOSE",
    }
)
_OWN_VARIABLE = re.compile(r"[a-z][a-z0-9_]*")
_NAME = re.compile(r"[\w.+:@-]+")
_SUSPECT_TEXT = re.compile(
    r"\$\{[^}]*:?=|\(\(|\$\[|\bcoproc\b|\bselect\b|printf\s+-v|\$\{!|\{[A-Za-z_]\w*\}[<>]"
)


@dataclass
class ShellState:
    """Which command names can no longer be trusted."""

    names: set[str] = field(default_factory=set)
    """Functions and aliases that earlier commands defined."""
    untrusted: str = ""
    """Why no command can be trusted any more; empty while commands can be."""

    def record(self, command: str) -> None:
        """Record a command that ran in the shell."""
        if self.untrusted:
            return
        script = parse(command)
        if not script.parsed:
            self.untrusted = "an earlier command could not be analysed"
            return
        if _SUSPECT_TEXT.search(command):
            self.untrusted = "an earlier command may have set shell variables"
            return
        for name in script.functions:
            if not _NAME.fullmatch(name):
                self.untrusted = "an earlier command defined a function whose name is unknown"
            self.names.add(name)
        for simple in script.commands:
            if simple.top:
                self._note_simple(simple)
        for variable in script.variables:
            self._note_variable(variable)

    def why_unreliable(self, names: list[str]) -> str | None:
        """Why commands of these names may not be what they seem, or None."""
        if self.untrusted:
            return self.untrusted
        for name in names:
            if name in self.names:
                return f"an earlier command redefined {name}"
        return None

    def _note_simple(self, simple: SimpleCommand) -> None:
        name = simple.name
        if not simple.words:
            return
        if name is None:
            self.untrusted = "an earlier command ran a program whose name is unknown"
        elif name == "alias":
            self._note_aliases(simple)
        elif name == "export":
            self._note_exports(simple)
        elif name in self.names:
            self.untrusted = f"an earlier command ran {name}, which was redefined"
        elif name == "command" and [w.value for w in simple.words[1:2]] in (["-v"], ["-V"]):
            pass
        elif name in _CHANGES_STATE:
            inner = unwrap(simple)
            if name == "command" and inner is not None and inner is not simple:
                self._note_simple(inner)
            elif name != "command" or inner is None:
                self.untrusted = f"an earlier command used `{name}`"
        elif name == "time":
            inner = unwrap(simple)
            if inner is None or inner is simple:
                self.untrusted = "an earlier command ran a program whose name is unknown"
            else:
                self._note_simple(inner)
        elif name == "printf" and any(
            word.value is None or re.search(r"^-v|%[^%a-zA-Z]*n", word.value)
            for word in simple.words[1:2]
        ):
            self.untrusted = "an earlier printf may have set a variable"
        elif name in ("test", "[", "wait") and any(
            word.value is None or word.value in ("-v", "-p", "-R") for word in simple.words[1:]
        ):
            self.untrusted = f"an earlier `{name}` may have run something"

    def _note_aliases(self, simple: SimpleCommand) -> None:
        for word in simple.words[1:]:
            if word.value is None:
                self.untrusted = "an earlier command defined an alias whose name is unknown"
            elif "=" in word.value:
                self.names.add(word.value.split("=", 1)[0])

    def _note_exports(self, simple: SimpleCommand) -> None:
        named = [a.split("=", 1)[0].rstrip("+") for a in simple.assignments]
        for word in simple.words[1:]:
            if word.value is None or word.value.startswith("-"):
                self.untrusted = "an earlier command exported a variable whose name is unknown"
                return
            named.append(word.value.split("=", 1)[0])
        for variable in named:
            if variable not in _SAFE_EXPORTS:
                self.untrusted = f"an earlier command exported {variable}"

    def _note_variable(self, name: str) -> None:
        # A variable that is not exported reaches no program, and commands that are allowed without
        # asking expand none; the shell's own variables are in capitals.
        if not _OWN_VARIABLE.fullmatch(name):
            self.untrusted = f"an earlier command set {name}"
