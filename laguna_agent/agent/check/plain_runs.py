"""Which commands laguna may run again and again to see what they print.

Those that the policy knows to be read-only, and a plain run of a program of the workspace. What
may be asked to change things, or reaches outside of the workspace, is neither.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path, PurePosixPath

from laguna_agent.policy.command_analysis import analyse
from laguna_agent.programs import find_program
from laguna_agent.tools.code.python_syntax import module_of

_INTERPRETERS = re.compile(
    r"python(?:3(?:\.\d+)?)?|node|bun|deno|ruby|perl|php|lua|bash|sh|zsh|Rscript|julia|go"
)
_RUN = {"go": "run", "deno": "run", "bun": "run"}
"""Interpreters that run a file by a subcommand."""
_PLAIN_OPTION = re.compile(r"-[uBOIEs]+|-W\w+|--silent|--quiet")
_CHANGES = re.compile(
    r"-i|--in-?place|-w|--write|-o|--out(?:put|file)?|-f|--force|--fix|--apply"
    r"|--(?:in-?place|write|out\w*|force|fix|apply|delete|remove|install|upload|save)(?:=.*)?"
    r"|delete|remove|rm|reset|clean|clear|drop|purge|deploy|push|publish|upload|send|install"
    r"|uninstall|migrate|kill|save"
)
"""Arguments that ask a program to change something."""
_HELP = re.compile(r"-h|--help|help")
"""Arguments whose output nobody states whole."""
_PLACEHOLDER = re.compile(
    r"N|NUMBER|FILE|FILENAME|NAME|PATH|DIR|ARGS?|TEXT|COMMAND|URL|DATE|ID|KEY|VALUE|INPUT|OUTPUT"
    r"|<[\w -]+>|\[[\w -]+\]|.*(?:\.\.\.|…).*"
)
_BACKGROUND = re.compile(r"(?<![&>])&(?![&>\d])")
_LONGEST = 300
_BARRED = {"open", "exec", "eval", "compile", "__import__", "input", "breakpoint", "getattr"}


def is_plain_run(command: str, start: Path) -> bool:
    """Whether a command, run in `start`, only reads or only runs programs below `start`."""
    if len(command) > _LONGEST or "\n" in command or _BACKGROUND.search(command):
        return False
    analysis = analyse(command, str(start))
    script = analysis.script
    if not script.exact or script.writes or not analysis.commands:
        return False
    if any(word.value is None or _is_outside(word.value) for word in script.reads):
        return False
    folder = start
    for one in analysis.commands:
        values = one.simple.values
        if not values or one.simple.assignments:
            return False
        if any(_is_outside(value) or _PLACEHOLDER.fullmatch(value) for value in values[1:]):
            return False
        if one.verdict != "read-only" and not _runs_program(values, folder):
            return False
        if values[0] == "cd" and len(values) > 1:
            folder /= values[1]
    return True


def _is_outside(word: str) -> bool:
    """Whether a word may name something that is not below the working directory."""
    value = word.partition("=")[2] if word.startswith("--") else word
    return value.startswith(("/", "~")) or ".." in PurePosixPath(value).parts


def _runs_program(words: list[str], start: Path) -> bool:
    """Whether the words run a program of the workspace, and ask it to change nothing."""
    head, *rest = words
    if any(_CHANGES.fullmatch(word) or _HELP.fullmatch(word) for word in rest):
        return False
    if "/" in head:
        return not _is_outside(head)
    if not _INTERPRETERS.fullmatch(head) or find_program(head) is None:
        return False
    while rest and _PLAIN_OPTION.fullmatch(rest[0]):
        rest = rest[1:]
    if rest and rest[0] == _RUN.get(head):
        rest = rest[1:]
    elif head in ("go", "deno"):
        return False
    if len(rest) > 1 and head.startswith("python"):
        if rest[0] == "-m":
            return _is_module(rest[1].partition(".")[0], start)
        if rest[0] == "-c":
            return _is_plain_code(rest[1], start)
    if not rest or rest[0].startswith("-"):
        return False
    return rest[0] == "." or "." in rest[0] or (start / rest[0]).is_file()


def _is_module(name: str, start: Path) -> bool:
    return (start / f"{name}.py").is_file() or (start / name).is_dir()


def _is_plain_code(code: str, start: Path) -> bool:
    """Whether Python code only imports modules of the workspace, calls them and prints."""
    tree = module_of(code)
    if tree is None:
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            if isinstance(node, ast.Name) and node.id in _BARRED:
                return False
            continue
        if not all(_is_module(name.partition(".")[0], start) for name in modules):
            return False
    return True
