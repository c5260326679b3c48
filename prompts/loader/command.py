"""Command templates of tools without Python: where placeholders are allowed, and filling them.

Two measures keep values from becoming shell syntax. When a pack is loaded, tree-sitter parses the
template, and a placeholder is rejected wherever its quoting could be undone: inside quotes,
substitutions, here-documents and tests, as the name of a command, and as an argument of a program
that would evaluate it. When the tool is called, each value is quoted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from laguna_agent.errors import did_you_mean
from laguna_agent.prompts.loader.problems import Problem
from laguna_agent.prompts.loader.tool_file import ArgumentSpec, ToolText
from laguna_agent.toml_errors import key_line

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z_][a-z0-9_]*)\}")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")
"""Text that may adjoin a placeholder; a backslash, for one, would undo its quotes."""
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
"""Syntax nodes that may contain a placeholder."""

# fmt: off
_NEVER = frozenset({
    # evaluate text as a command
    "eval", "source", ".", "trap", "ssh", "su", "watch", "parallel", "at", "batch",
    # run their arguments
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
"""Programs that must not get a string or path from the model."""

_SHELLS = frozenset({
    "sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "csh", "tcsh",
})
_LANGUAGES = frozenset({
    "python", "python3", "perl", "ruby", "node", "php", "lua", "tclsh", "awk", "gawk", "mawk",
    "sed",
})
# fmt: on
_EVALUATES = re.compile(r"-[A-Za-z]*[ceErp]|--(eval|exec|command|print|run)\b.*")
"""Options after which a shell or interpreter takes an argument as program text."""


@dataclass(frozen=True)
class Fault:
    """Why a template is rejected, and how to fix it."""

    message: str
    fix: str = ""


def placeholders(template: str) -> list[str]:
    """Names of the placeholders, in order, without duplicates."""
    return list(dict.fromkeys(_PLACEHOLDER.findall(template)))


def check_command(template: str, arguments: Mapping[str, ArgumentSpec]) -> list[Fault]:
    """Check a command template; returns what is wrong with it."""
    names = placeholders(template)
    faults = [
        Fault(f"`{{{name}}}` is not an argument of this tool", did_you_mean(name, arguments))
        for name in names
        if name not in arguments
    ]
    # A misspelt placeholder also leaves its argument unused: report it once.
    faults = faults or [
        Fault(
            f"argument `{name}` is not used in `command`",
            f"Use {{{name}}} in it, or remove the argument.",
        )
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
            faults.append(_nested(name))
        for node in nodes:
            fault = _position_fault(node, name, arguments[name])
            if fault:
                faults.append(fault)
    return list(dict.fromkeys(faults))


def fill(template: str, values: Mapping[str, str | None]) -> str:
    """The command line with each value quoted. The word of a value that is None is removed."""
    text = template
    for name, value in values.items():
        if value is None:
            # The whole word: `--name={name}` must not leave `--name=`.
            text = re.sub(rf"[ \t]*{_WORD}(?<!\$)\{{{name}\}}{_WORD}", "", text)

    def quoted(match: re.Match[str]) -> str:
        value = values[match[1]]
        return "" if value is None else shlex.quote(value)

    return _PLACEHOLDER.sub(quoted, text)


def is_option_position(template: str, name: str) -> bool:
    """Whether a value of `name` with a leading dash would be read as an option."""
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


def _nested(name: str) -> Fault:
    return Fault(
        f"`{{{name}}}` is inside quotes or other syntax, where its quoting could be undone",
        f"Write {{{name}}} outside quotes; laguna quotes the value.",
    )


def _joined_plainly(node: Node) -> bool:
    return node.type != "concatenation" or all(
        child.type in ("string", "raw_string", "number")
        or (child.type == "word" and _PLAIN.fullmatch(_text(child)))
        for child in node.children
    )


def _position_fault(node: Node, name: str, spec: ArgumentSpec) -> Fault | None:
    if node.type != "word" or not _PLAIN.fullmatch(_text(node)):
        return _nested(name)
    current = node.parent
    while current is not None:
        if current.type == "command_name":
            return Fault(
                f"`{{{name}}}` is the program that is run",
                "Write the program into `command`; only its arguments may vary.",
            )
        if current.type == "file_redirect" and (spec.type != "path" or spec.optional):
            return Fault(
                f"`{{{name}}}` is the target of a redirection",
                'Only a required argument of type "path" may be one.',
            )
        if current.type not in _AROUND or not _joined_plainly(current):
            return _nested(name)
        current = current.parent
    command = _command_of(node)
    if command is None or spec.type in ("choice", "number", "flag"):
        # The author of the tool chose every value of these, or they are numbers.
        return None
    words = [_text(child) for child in command.named_children if child.end_byte <= node.start_byte]
    return _evaluation_fault(words, name, is_path=spec.type == "path")


def _evaluation_fault(words: list[str], name: str, *, is_path: bool) -> Fault | None:
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
            # The program's first argument is its script.
            culprit = program
        elif (
            number == 0 and program in ("sed", "awk", "gawk", "mawk") and len(options) == len(rest)
        ):
            culprit = program
    if culprit is None:
        return None
    return Fault(
        f"`{culprit}` would take `{{{name}}}` as a command or program",
        f"Move the command into a script and pass {{{name}}} to that.",
    )


def command_problems(text: ToolText) -> list[Problem]:
    """Problems of the command of a tool file, each of which makes the tool unusable."""
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
