"""The command line of a tool written in text: where values may stand, and how they are put in.

Two things together make sure that a value never becomes shell syntax. The template is parsed by
tree-sitter when the pack is read, and a placeholder is refused wherever quoting could be undone:
inside quotes, substitutions, here-documents and tests, as the name of a command, and as an
argument of a program that would read it as a command again. And each value is quoted by itself
when the tool is called.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from laguna_agent.errors import did_you_mean
from laguna_agent.prompts.loader.problems import Problem, key_line
from laguna_agent.prompts.loader.tool_file import ArgumentSpec, ToolText

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z_][a-z0-9_]*)\}")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")
"""What a placeholder may stand against; a backslash before it would undo its quotes."""
_WORD = r"[^\s;|&()<>]*"
_MARK = "LAGUNA{}VALUE"

_AROUND = {
    "program",
    "command",
    "concatenation",
    "pipeline",
    "list",
    "redirected_statement",
    "file_redirect",
    "subshell",
    "compound_statement",
    "negated_command",
    "word",
}
"""Syntax that a placeholder may stand in."""

# fmt: off
_NEVER = frozenset({
    # what takes text as a command
    "eval", "source", ".", "trap", "ssh", "su", "watch", "parallel", "at", "batch",
    # what runs its arguments
    "exec", "command", "builtin", "env", "sudo", "doas", "nice", "nohup", "setsid", "stdbuf",
    "timeout", "time", "xargs", "chroot", "busybox", "script", "unshare", "bwrap", "flock",
    "coproc", "make", "gmake",
    # builtins that evaluate names and subscripts
    "let", "declare", "typeset", "local", "export", "readonly", "unset", "read", "mapfile",
    "readarray", "test", "[", "printf", "alias", "enable", "hash", "set", "shopt", "complete",
    "compgen", "getopts",
    # programs whose input language can run commands
    "vim", "vi", "ed", "ex", "expect", "gdb", "sqlite3", "psql", "mysql",
})
"""Programs to which no string or path of the model may be given."""

_SHELLS = frozenset({
    "sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "csh", "tcsh",
})
_LANGUAGES = frozenset({
    "python", "python3", "perl", "ruby", "node", "php", "lua", "tclsh", "awk", "gawk", "mawk",
    "sed",
})
# fmt: on
_EVALUATES = re.compile(r"-[A-Za-z]*[ceErp]|--(eval|exec|command|print|run)\b.*")
"""Options after which a shell or language takes an argument as program text."""


@dataclass(frozen=True)
class Fault:
    """Why a template is refused, and what to do."""

    message: str
    fix: str = ""


def placeholders(template: str) -> list[str]:
    """Names of the placeholders, in order, each once."""
    return list(dict.fromkeys(_PLACEHOLDER.findall(template)))


def check_command(template: str, arguments: Mapping[str, ArgumentSpec]) -> list[Fault]:
    """What is wrong with a command template."""
    names = placeholders(template)
    faults = [
        Fault(f"`{{{name}}}` is not an argument of this tool", did_you_mean(name, arguments))
        for name in names
        if name not in arguments
    ]
    # A misspelt placeholder leaves its argument unused: one finding is enough.
    faults = faults or [
        Fault(f"argument `{name}` is not used in `command`", f"Put {{{name}}} where it belongs.")
        for name in arguments
        if name not in names
    ]
    if not template.strip():
        return [Fault("`command` is empty")]
    if faults:
        return faults
    marks = {_MARK.format(number): name for number, name in enumerate(names)}
    text = _PLACEHOLDER.sub(lambda m: _MARK.format(names.index(m[1])), template)
    root = _parser().parse(text.encode()).root_node
    if root.has_error:
        return [Fault("`command` is not a shell command that can be parsed", "Check its quotes.")]
    for mark, name in marks.items():
        wanted = text.count(mark)
        nodes = [node for node in _leaves(root) if mark in _text(node)]
        seen = sum(_text(node).count(mark) for node in nodes)
        if seen != wanted:
            faults.append(_inside(name))
        for node in nodes:
            fault = _place_fault(node, name, arguments[name])
            if fault:
                faults.append(fault)
    return list(dict.fromkeys(faults))


def fill(template: str, values: Mapping[str, str | None]) -> str:
    """The command line: each value quoted, None (an absent option) removed with its space."""
    text = template
    for name, value in values.items():
        if value is None:
            # The whole word goes: `--name={name}` must not stay behind as `--name=`.
            text = re.sub(rf"[ \t]*{_WORD}(?<!\$)\{{{name}\}}{_WORD}", "", text)

    def put(match: re.Match[str]) -> str:
        value = values[match[1]]
        return "" if value is None else shlex.quote(value)

    return _PLACEHOLDER.sub(put, text)


def option_place(template: str, name: str) -> bool:
    """True when a value of `name` that began with a dash would be read as an option."""
    mark = _MARK.format(0)
    text = re.sub(rf"(?<!\$)\{{{name}\}}", mark, template)
    text = _PLACEHOLDER.sub("x", text)
    for node in _leaves(_parser().parse(text.encode()).root_node):
        if not _text(node).startswith(mark) or (
            node.parent is not None
            and node.parent.type == "concatenation"
            and node.start_byte != node.parent.start_byte
        ):
            continue
        command = _command_of(node)
        words = [_text(child) for child in command.named_children] if command else []
        before = words[: next((i for i, w in enumerate(words) if mark in w), 0)]
        if "--" not in before:
            return True
    return False


@cache
def _parser() -> Parser:
    import tree_sitter_bash
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_bash.language()))


def _leaves(node: Node) -> Iterator[Node]:
    if not node.children:
        yield node
    for child in node.children:
        yield from _leaves(child)


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _command_of(node: Node) -> Node | None:
    current: Node | None = node
    while current is not None and current.type != "command":
        current = current.parent
    return current


def _inside(name: str) -> Fault:
    return Fault(
        f"`{{{name}}}` stands inside quotes or other syntax, where quoting it could be undone",
        f"Let {{{name}}} stand by itself or against plain text; it is quoted when it is put in.",
    )


def _joined_plainly(node: Node) -> bool:
    return node.type != "concatenation" or all(
        child.type in ("string", "raw_string", "number")
        or (child.type == "word" and _PLAIN.fullmatch(_text(child)))
        for child in node.children
    )


def _place_fault(node: Node, name: str, spec: ArgumentSpec) -> Fault | None:
    if node.type != "word" or not _PLAIN.fullmatch(_text(node)):
        return _inside(name)
    current = node.parent
    while current is not None:
        if current.type == "command_name":
            return Fault(
                f"`{{{name}}}` is the program that is run",
                "Name the program in `command`; what varies goes into its arguments.",
            )
        if current.type == "file_redirect" and (spec.type != "path" or spec.optional):
            return Fault(
                f"`{{{name}}}` is the target of a redirection",
                'Only an argument of type "path" that is always given may be one.',
            )
        if current.type not in _AROUND or not _joined_plainly(current):
            return _inside(name)
        current = current.parent
    command = _command_of(node)
    if command is None or spec.type in ("choice", "number", "flag"):
        # Every value of these was chosen by the author of the tool, or is a plain number.
        return None
    words = [_text(child) for child in command.named_children if child.end_byte <= node.start_byte]
    return _reader_fault(words, name, is_path=spec.type == "path")


def _reader_fault(words: list[str], name: str, *, is_path: bool) -> Fault | None:
    programs = [word.strip("\"'").rsplit("/", 1)[-1] for word in words]
    culprit = programs[0] if programs and programs[0] in _NEVER else None
    for number, program in enumerate(programs):
        rest = words[number + 1 :]
        options = [word for word in rest if word.startswith("-")]
        if program not in _SHELLS | _LANGUAGES:
            continue
        if any(_EVALUATES.fullmatch(option) for option in options):
            culprit = program
        elif number == 0 and not is_path and len(options) == len(rest):
            # It would be the program's first argument: its script.
            culprit = program
        elif (
            number == 0 and program in ("sed", "awk", "gawk", "mawk") and len(options) == len(rest)
        ):
            culprit = program
    if culprit is None:
        return None
    return Fault(
        f"`{culprit}` would take `{{{name}}}` as a command or program",
        f"Put the command into a script of its own and pass {{{name}}} to that.",
    )


def command_problems(text: ToolText) -> list[Problem]:
    """What is wrong with the command line of a tool file; any of it makes the tool unusable."""
    command = text.head.command or ""
    line = _line(text, "command")
    faults = check_command(command, text.head.arguments)
    problems = [Problem(text.path, line, fault.message, fault.fix) for fault in faults]
    for argument, spec in text.head.arguments.items():
        if spec.type is None:
            where = _line(text, "arguments", argument)
            fix = "Give one of string, path, choice, number, flag."
            problems.append(Problem(text.path, where, f"`{argument}` has no type", fix))
        elif not _default_fits(spec):
            where = _line(text, "arguments", argument, "default")
            message = f"the default of `{argument}` is not a {spec.type}"
            problems.append(Problem(text.path, where, message))
    return problems


def _default_fits(spec: ArgumentSpec) -> bool:
    if spec.default is None:
        return True
    if spec.type == "number":
        kinds = int if spec.integer else (int, float)
        return isinstance(spec.default, kinds) and not isinstance(spec.default, bool)
    return isinstance(spec.default, bool) if spec.type == "flag" else isinstance(spec.default, str)


def _line(text: ToolText, *location: str) -> int | None:
    return key_line(text.front, location, first=2)
