"""Policy rules: what each covers, and how it is written and said.

A rule names a tool, a path, a command, a host or a tool of an MCP server. Paths are globs (`*`
stays within a folder, `**` crosses folders); a path without a pattern covers everything below it;
relative paths start at the workspace. A command is matched word by word: each word may be a
pattern, and a last word `*` matches any further words. A rule that denies or asks also covers every
command that begins with its words.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from laguna_agent.actions import (
    Action,
    CallMcpTool,
    GitWrite,
    Network,
    ReadPath,
    RunCommand,
    WritePath,
)
from laguna_agent.config import RuleConfig
from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.analysed import CommandAnalysis
from laguna_agent.policy.git_table import without_globals
from laguna_agent.policy.words import possible_paths
from laguna_agent.policy.wrappers import visible_commands


@lru_cache(maxsize=512)
def _glob_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern over whole paths, matching everything below what it matches."""
    out: list[str] = []
    position = 0
    while position < len(pattern):
        rest = pattern[position:]
        if rest.startswith("**/"):
            out.append(r"(?:.*/)?")
            position += 3
        elif rest.startswith("**"):
            out.append(r".*")
            position += 2
        elif rest[0] == "*":
            out.append(r"[^/]*")
            position += 1
        elif rest[0] == "?":
            out.append(r"[^/]")
            position += 1
        elif rest[0] == "[" and (end := rest.find("]", 2)) > 0:
            body = rest[1:end].replace("\\", "\\\\").replace("[", "\\[")
            out.append("[" + ("^" + body[1:] if body[0] in "!^" else body) + "]")
            position += end + 1
        else:
            out.append(re.escape(rest[0]))
            position += 1
    return re.compile("".join(out) + r"(?:/.*)?", re.DOTALL)


def _fixed_part(pattern: str) -> str:
    """The leading folders of a pattern that contain no pattern characters."""
    if not any(c in pattern for c in "*?["):
        return pattern
    head = pattern[: min(pattern.find(c) for c in "*?[" if c in pattern)]
    return os.path.dirname(head) or "/"


@lru_cache(maxsize=512)
def _absolute(pattern: str, workspace: str) -> str:
    expanded = os.path.expanduser(pattern)
    if not os.path.isabs(expanded):
        expanded = os.path.join(workspace, expanded)
    return os.path.normpath(expanded)


def path_patterns(rule: RuleConfig, workspace: str) -> tuple[str, ...]:
    """The absolute forms of a rule's path: as written, and with its fixed folders resolved."""
    written = _absolute(rule.path or "", workspace)
    fixed = _fixed_part(written)
    resolved = sensitive_paths.real(fixed)
    if resolved == fixed:
        return (written,)
    return written, resolved.rstrip("/") + written[len(fixed) :]


def covers_path(rule: RuleConfig, path: str, workspace: str, *, wide: bool) -> bool:
    """Whether a path rule covers `path`.

    `wide` (for rules that deny or ask) matches any spelling and any link on the way; otherwise
    the resolved path must match.
    """
    names = sensitive_paths.spellings(path) if wide else (sensitive_paths.real(path),)
    for pattern in path_patterns(rule, workspace):
        for name in names:
            if _glob_pattern(pattern).fullmatch(name):
                return True
            if wide and _glob_pattern(sensitive_paths.fold(pattern)).fullmatch(
                sensitive_paths.fold(name)
            ):
                return True
    return False


def may_lie_below(rule: RuleConfig, directory: str, workspace: str) -> bool:
    """Whether a path rule could cover something below `directory`."""
    top = sensitive_paths.real(directory)
    return any(
        sensitive_paths.is_under_folded(_fixed_part(pattern), top)
        or (
            sensitive_paths.is_under_folded(top, _fixed_part(pattern))
            and pattern != _fixed_part(pattern)
        )
        for pattern in path_patterns(rule, workspace)
    )


def existing_paths(rule: RuleConfig, workspace: str, limit: int = 256) -> list[Path]:
    """The existing paths that a rule covers, for a sandbox that needs real paths."""
    found: list[Path] = []
    for pattern in path_patterns(rule, workspace):
        if not any(c in pattern for c in "*?["):
            found += [Path(pattern)] if os.path.lexists(pattern) else []
            continue
        top = _fixed_part(pattern)
        for folder, folders, files in os.walk(top):
            for name in [*folders, *files]:
                path = os.path.join(folder, name)
                if _glob_pattern(pattern).fullmatch(path):
                    found.append(Path(path))
            folders[:] = [n for n in folders if Path(folder, n) not in found and n != ".git"]
            if len(found) >= limit:
                break
    return list(dict.fromkeys(found))


@lru_cache(maxsize=512)
def command_words(pattern: str) -> tuple[str, ...]:
    """The words of a command rule."""
    try:
        return tuple(shlex.split(pattern))
    except ValueError:
        return tuple(pattern.split())


def named_and_matched(pattern: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that a command rule names one by one, and those that only its patterns match.

    A word in the place of a pattern (`lo?`) is in both.
    """
    wanted = command_words(pattern)
    count = len(wanted) - (wanted[-1:] == ("*",))
    matched = [word for word, w in zip(words, wanted, strict=False) if glob.has_magic(w)]
    return list(words[:count]), list(dict.fromkeys([*matched, *words[count:]]))


def escaped(path: str) -> str:
    """A path rule for exactly this path, whatever characters are in it."""
    return glob.escape(sensitive_paths.real(path))


def covers_words(pattern: str, words: Sequence[str], *, wide: bool) -> bool:
    """Whether a command rule covers these words.

    `wide` (for rules that deny or ask) matches any command that begins with them, under any path
    to the program, in any case, with its options in any order and spelling (`rm -fr` for `rm -rf`,
    `git -C . push` for `git push`).
    """
    wanted = command_words(pattern)
    if not wanted:
        return False
    open_ended = wanted[-1] == "*"
    if open_ended:
        wanted = wanted[:-1]
    if not wide:
        exact = len(words) == len(wanted) or (open_ended and len(words) > len(wanted))
        return exact and _all_match(words, wanted)
    given = _plain_words(words)
    wanted = tuple(_plain_words(wanted))
    if _all_match(given, wanted) and len(given) >= len(wanted):
        return True
    options, operands = _options_apart(given)
    wanted_options, wanted_operands = _options_apart(wanted)
    return (
        wanted_options <= options
        and len(operands) >= len(wanted_operands)
        and _all_match(operands, wanted_operands)
    )


def _all_match(words: Sequence[str], wanted: Sequence[str]) -> bool:
    return all(fnmatch.fnmatchcase(w, pattern) for w, pattern in zip(words, wanted, strict=False))


_LONG = {
    "rm": {"--recursive": "-r", "--force": "-f", "-R": "-r"},
    "git": {"--force": "-f", "--delete": "-d", "--all": "-a", "--no-verify": "-n"},
}
"""Other spellings of options that rules are often about."""


def _plain_words(words: Sequence[str]) -> list[str]:
    """Words in one spelling: the program's base name, git's global options and `python -m` left
    out, and no difference that a file system may ignore, except in options."""
    plain = [os.path.basename(words[0]), *words[1:]] if words else []
    if plain[:1] == ["git"]:
        plain = ["git", *without_globals(plain[1:])]
    if len(plain) > 2 and re.fullmatch(r"python[\d.]*", plain[0]) and plain[1] == "-m":
        plain = plain[2:]
    names = _LONG.get(plain[0] if plain else "", {})
    return [
        names.get(word, word) if word.startswith("-") else sensitive_paths.fold(word)
        for word in plain
    ]


def _options_apart(words: Sequence[str]) -> tuple[set[str], list[str]]:
    """Options, those in one word (`-rf`) apart, and operands."""
    options: set[str] = set()
    for word in words:
        if word.startswith("--"):
            options.add(word)
        elif word.startswith("-"):
            options |= {f"-{letter}" for letter in word[1:]}
    return options, [word for word in words if not word.startswith("-")]


_UNKNOWN = "\0"


def may_cover_words(pattern: str, words: Sequence[str | None]) -> bool:
    """Whether a rule that denies might cover words of which some are known only to the shell."""
    if not words or words[0] is None or None not in words:
        return False
    options, operands = _options_apart(_plain_words([word or _UNKNOWN for word in words]))
    wanted_options, wanted = _options_apart(_plain_words(command_words(pattern)))
    wanted = wanted[:-1] if wanted[-1:] == ["*"] else wanted
    return (
        wanted_options <= options
        and len(operands) >= len(wanted)
        and all(
            word == _UNKNOWN or fnmatch.fnmatchcase(word, want)
            for word, want in zip(operands, wanted, strict=False)
        )
    )


def covers_action(
    rule: RuleConfig, action: Action, tool: str, analysis: CommandAnalysis | None, root: str
) -> bool:
    """Whether a rule applies to an action of a tool. A rule that allows applies to a command only
    when `covers_words` says so for each part of it."""
    wide = rule.verdict != "allow"
    if rule.tool is not None:
        return rule.tool == tool or (
            wide and sensitive_paths.fold(rule.tool) == sensitive_paths.fold(tool)
        )
    match action:
        case ReadPath() if rule.path is not None:
            return not (wide and rule.write) and covers_path(rule, action.path, root, wide=wide)
        case WritePath() if rule.path is not None:
            return (wide or rule.write) and covers_path(rule, action.path, root, wide=wide)
        case Network() if rule.host is not None:
            return covers_host(rule.host, action.host)
        case CallMcpTool() if rule.mcp is not None:
            name, pattern = f"{action.server}/{action.tool}", rule.mcp
            if wide:
                name, pattern = name.casefold(), pattern.casefold()
            return fnmatch.fnmatchcase(name, pattern)
        case GitWrite() if rule.command is not None:
            words = ["git", action.operation, *action.detail.split()]
            return covers_words(rule.command, words, wide=wide)
        case RunCommand() if wide and analysis is not None:
            return _covers_command(rule, action, analysis, root)
        case _:
            return False


def _covers_command(
    rule: RuleConfig, action: RunCommand, analysis: CommandAnalysis, root: str
) -> bool:
    """Whether a rule that denies or asks applies to any part of a command line."""
    if rule.command is not None:
        return any(
            covers_words(
                rule.command,
                [word.text if word.value is None else word.value for word in words],
                wide=True,
            )
            for words in (simple.words for simple, _ in visible_commands(action.command))
        )
    if rule.path is None:
        return False
    named = [
        os.path.join(cwd, word.value)
        for cwd in analysis.cwds
        for word in analysis.script.writes
        if word.value is not None
    ]
    if not rule.write or not analysis.all_read:
        named += analysis.input_files
        named += [path for command in analysis.commands for path in command.reads]
        named += [
            os.path.join(cwd, part)
            for cwd in analysis.cwds
            for simple, _ in visible_commands(action.command)
            for word in simple.words[1:]
            for part in possible_paths(word.value)
        ]
    return any(covers_path(rule, path, root, wide=True) for path in named)


def covers_host(pattern: str, host: str) -> bool:
    """Whether a host rule covers `host`; `*.example.org` covers its subdomains."""
    return fnmatch.fnmatchcase(host.casefold().rstrip("."), pattern.casefold().rstrip("."))


def rule_text(rule: RuleConfig) -> str:
    """The rule as TOML, as it would be written to the configuration."""
    lines = ["[[policy.rules]]", f"verdict = {_quoted(rule.verdict)}"]
    lines += [f"{key} = {_quoted(value)}" for key, value in _subject(rule)]
    if rule.write:
        lines.append("write = true")
    return "\n".join(lines)


def rule_label(rule: RuleConfig) -> str:
    """The rule in one short line: `deny path "~/secret" (write)`."""
    key, value = next(_subject(rule))
    return f"{rule.verdict} {key} {_quoted(value)}" + (" (write)" if rule.write else "")


def in_words(rule: RuleConfig, workspace: str = "") -> str:
    """What the rule is about, in plain words: `run pytest with any arguments`, `read ~/notes`."""
    if rule.command is not None:
        words = command_words(rule.command)
        if words[-1:] == ("*",):
            return f"run {shlex.join(words[:-1])} with any arguments"
        return f"run exactly “{rule.command}”"
    if rule.path is not None:
        allows = rule.verdict == "allow"
        verb = "change" if rule.write else "read" if allows else "read or change"
        return f"{verb} {_shown_path(rule.path, workspace)}"
    if rule.host is not None:
        return f"connect to {rule.host}"
    if rule.mcp is not None:
        return f"call {rule.mcp} of an MCP server"
    return f"use the tool {rule.tool}"


def _shown_path(pattern: str, workspace: str) -> str:
    """A path rule as people write paths: relative to the workspace or to the home directory."""
    plain = re.sub(r"\[([*?\[])\]", r"\1", pattern)
    if workspace and plain != workspace and sensitive_paths.is_under(plain, workspace):
        return os.path.relpath(plain, workspace)
    home = sensitive_paths.real(sensitive_paths.home())
    return f"~/{os.path.relpath(plain, home)}" if plain.startswith(f"{home}/") else plain


def _subject(rule: RuleConfig) -> Iterator[tuple[str, str]]:
    """What the rule is about: a key and its value."""
    subjects = {"tool": rule.tool, "path": rule.path, "command": rule.command, "host": rule.host}
    subjects["mcp"] = rule.mcp
    return ((key, value) for key, value in subjects.items() if value is not None)


def _quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    out = "".join(
        escapes.get(c) or (c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in text
    )
    return f'"{out}"'


def inline(rule: RuleConfig) -> str:
    """The rule as an inline table of TOML."""
    fields = rule_text(rule).split("\n")[1:]
    return "{ " + ", ".join(fields) + " }"
