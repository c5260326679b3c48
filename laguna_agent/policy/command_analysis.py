"""Classifies a shell command: read-only, known to do more, or unknown.

Nothing is run or written; the file system is only read, to follow a `cd` and to resolve paths. The
analysis lists what a command reads; the gate decides whether that is allowed.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from laguna_agent.policy.analysed import AnalysedCommand, CommandAnalysis, Walk
from laguna_agent.policy.command_table import (
    READ_ONLY_PROGRAMS,
    TRANSPARENT_WRAPPERS,
    Options,
    ProgramSpec,
)
from laguna_agent.policy.git_table import READING, analyse_git, without_globals
from laguna_agent.policy.loops import unrolled
from laguna_agent.policy.piped_names import piped_walks
from laguna_agent.policy.shell_syntax import SimpleCommand, Word, parse
from laguna_agent.policy.wrappers import split_option, unwrap

_SYSTEM_BINS = ("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/opt/homebrew/bin")
_MOST_MATCHES = 256
_MOST_CWDS = 32


BUILTINS = frozenset(
    {"cd", "echo", "printf", "true", "false", ":", "pwd", "test", "[", "type", "command", "jobs"}
)
"""Names that bash handles itself, whatever is in the search path."""


def analyse(command: str, cwd: str) -> CommandAnalysis:
    """Analyse a command line for a shell whose working directory is `cwd` (absolute)."""
    command = unrolled(command, cwd)
    script = parse(command)
    cwds = [cwd]
    likely = [(sys.maxsize, cwd)]
    analysed: list[AnalysedCommand] = []
    for simple in script.commands:
        while simple.start >= likely[-1][0] and len(likely) > 1:
            likely.pop()
        result = _analyse_simple(simple, cwds)
        if simple.name == "xargs" and len(simple.words) > 1:
            result = _analyse_xargs(simple, analysed[-1:], cwds, command)
        result.cwd = likely[-1][1]
        analysed.append(result)
        if simple.name == "cd" and result.verdict == "read-only":
            moved = _after_cd(simple, cwds)
            sure = script.chain and simple.until is None
            cwds = moved if sure else list(dict.fromkeys([*cwds, *moved]))
            likely.append((simple.until or likely[-1][0], _after_cd(simple, [result.cwd])[0]))
    inputs = [
        path for word in script.reads if word.value is not None for path in expand(word, cwds)
    ]
    return CommandAnalysis(script, analysed, cwds, inputs)


def reads_only_by_name(words: Sequence[str]) -> bool:
    """Whether these first words of a command (`find`, `git log`) only read, whatever operands
    follow, so that only an option can make it do more."""
    words = [os.path.basename(word) for word in words[:1]] + list(words[1:])
    if words[:1] == ["git"]:
        rest = without_globals(words[1:])
        return bool(rest) and rest[0] in READING
    spec = READ_ONLY_PROGRAMS.get(words[0]) if words else None
    return spec is not None and not isinstance(
        _apply(spec, words[0], [Word(word, word) for word in words[1:]]), str
    )


def _after_cd(simple: SimpleCommand, cwds: list[str]) -> list[str]:
    target = simple.words[1].value if len(simple.words) > 1 else os.path.expanduser("~")
    moved = [os.path.normpath(os.path.join(cwd, target or ".")) for cwd in cwds]
    return list(dict.fromkeys(moved))


def _analyse_simple(simple: SimpleCommand, cwds: list[str]) -> AnalysedCommand:
    name = simple.name
    if simple.assignments:
        return AnalysedCommand(simple, "unknown", "the command sets a variable")
    if name is None:
        return AnalysedCommand(
            simple, "unknown", "the name of the program is computed when it runs"
        )
    base = _program(name)
    if base is None:
        return AnalysedCommand(simple, "ordinary", f"{name} is not a system program", program=name)
    program = "" if base in BUILTINS else base
    if base == "git":
        return _analyse_git(simple, cwds)
    if base in TRANSPARENT_WRAPPERS:
        return _analyse_wrapped(simple, base, cwds)
    spec = READ_ONLY_PROGRAMS.get(base)
    if spec is None:
        return AnalysedCommand(
            simple,
            "ordinary",
            f"{base} may change files (not a known read-only command)",
            program=program,
        )
    applied = _apply(spec, base, simple.words[1:])
    if isinstance(applied, str):
        return AnalysedCommand(simple, "ordinary", applied, program=program)
    reading, options = applied
    if base == "cd" and (reason := _unclear_cd(simple, cwds)):
        return AnalysedCommand(simple, "unknown", reason)
    if base == "cd":
        # What is read afterwards counts, not the way there.
        return AnalysedCommand(simple, "read-only", "only reads")
    paths = [path for word in reading for path in expand(word, cwds)]
    if spec.reads_cwd and not reading:
        paths = list(cwds)
    return AnalysedCommand(
        simple,
        "read-only",
        "only reads",
        paths,
        spec.contents,
        program=program,
        shows=spec.shows,
        walks=_walks(base, options, paths),
    )


_TYPES_WITH_SECRETS = frozenset({"json", "toml", "yaml", "xml", "ini", "config", "conf", "txt"})


def _walks(base: str, options: Options, paths: Sequence[str]) -> list[Walk]:
    """The folders that a search or a comparison goes through."""
    given = {name for name, _ in options}
    if base == "rg":
        everything = sum(name in ("-u", "--unrestricted") for name, _ in options)
        globs = [v for n, v in options if n in ("-g", "--glob", "--iglob") and v and v[0] != "!"]
        types = [v or "" for n, v in options if n in ("-t", "--type")]
        if types and not _TYPES_WITH_SECRETS & set(types):
            globs = [f"*.{kind}" for kind in types]
        walk = Walk(
            "",
            hidden=bool({"-.", "--hidden"} & given) or everything > 1,
            ignored=any(name.startswith("--no-ignore") for name in given) or everything > 0,
            names=tuple(globs),
        )
    elif base in ("grep", "egrep", "fgrep"):
        recursive = {"-r", "--recursive"} & given
        recursive |= {n for n, v in options if v == "recurse" and n in ("-d", "--directories")}
        if not recursive:
            return []
        walk = Walk("", names=tuple(v for n, v in options if n == "--include" and v))
    elif base == "diff" and {"-r", "--recursive"} & given:
        walk = Walk("")
    else:
        return []
    return [replace(walk, folder=path) for path in paths if os.path.isdir(path)]


def _program(name: str) -> str | None:
    """The base name of a program that is in the search path or a system directory, else None."""
    if "/" not in name:
        return name
    directory, base = os.path.split(name)
    return base if directory in _SYSTEM_BINS else None


def _analyse_wrapped(simple: SimpleCommand, base: str, cwds: list[str]) -> AnalysedCommand:
    inner = unwrap(simple)
    if inner is None or len(inner.words) == len(simple.words):
        return AnalysedCommand(simple, "unknown", f"what {base} runs is computed when it runs")
    result = _analyse_simple(inner, cwds)
    return replace(result, simple=simple)


_PIPE = re.compile(r"\s*(2>\s*(/dev/null|&1)\s*)?\|\s*")


def _analyse_xargs(
    simple: SimpleCommand, before: Sequence[AnalysedCommand], cwds: list[str], command: str
) -> AnalysedCommand:
    """A command behind xargs: it reads the files that the command before it in the pipe lists."""
    inner = unwrap(simple)
    if inner is None or len(inner.words) == len(simple.words) or not before:
        return AnalysedCommand(simple, "unknown", "what xargs runs is computed when it runs")
    options = [word.value or "" for word in simple.words[1 : -len(inner.words)]]
    lister = before[0].simple
    end = lister.start + len(lister.text.encode())
    between = command.encode()[end : simple.start].decode("utf-8", "replace")
    result = _analyse_simple(inner, cwds)
    if result.verdict != "read-only":
        return replace(result, simple=simple)
    if not _PIPE.fullmatch(between) or any(re.match(r"-\w*[aIp]", option) for option in options):
        return AnalysedCommand(simple, "unknown", "what xargs reads is computed when it runs")
    walks = piped_walks(before[0], by_null=any(re.match(r"-\w*0", option) for option in options))
    if isinstance(walks, str):
        return AnalysedCommand(simple, "unknown", walks, program="xargs")
    shown = walks if result.shows else []
    return replace(result, simple=simple, reads=[walk.folder for walk in walks], walks=shown)


def _analyse_git(simple: SimpleCommand, cwds: list[str]) -> AnalysedCommand:
    if any(word.may_be_option for word in simple.words[1:]):
        return AnalysedCommand(
            simple, "unknown", "a file name pattern could expand to an option", program="git"
        )
    words = [word.value or "" for word in simple.words[1:]]
    reading = analyse_git(words)
    if isinstance(reading, str):
        return AnalysedCommand(simple, "ordinary", reading, program="git")
    places = list(cwds)
    for directory in reading.directories:
        places = [os.path.normpath(os.path.join(place, directory)) for place in places]
    named = [os.path.join(place, path) for place in places for path in reading.paths]
    # In a revision such as `HEAD:src/a`, a path follows the colon.
    named += [
        os.path.join(place, path.rsplit(":", 1)[1])
        for place in places
        for path in reading.paths
        if ":" in path
    ]
    existing = [path for path in named if os.path.lexists(path)]
    return AnalysedCommand(
        simple,
        "read-only",
        "only reads",
        [*places, *map(os.path.normpath, named)],
        True,
        places,
        "git",
        shows=reading.shows,
        walks=[
            Walk(path, tracked_only=True)
            for path in (existing or places)
            if reading.shows and os.path.isdir(path)
        ],
    )


def _unclear_cd(simple: SimpleCommand, cwds: list[str]) -> str | None:
    words = simple.words[1:]
    if len(cwds) > _MOST_CWDS:
        return "it changes directory too often to follow"
    if any(word.glob or word.value is None or word.value.startswith("-") for word in words):
        return "the target of cd is computed when it runs"
    target = words[0].value if words else None
    if target and ".." in target.split("/"):
        for cwd in cwds:
            path = os.path.join(cwd, target)
            # bash resolves `..` by name, programs through links: both must agree.
            if os.path.realpath(path) != os.path.realpath(os.path.normpath(path)):
                return "cd follows `..` through a symbolic link"
    return None


def _apply(spec: ProgramSpec, base: str, words: Sequence[Word]) -> tuple[list[Word], Options] | str:
    """The path operands and options of a command that matches its spec, or why it does not."""
    options: list[tuple[str, str | None]] = []
    operands: list[Word] = []
    paths: list[Word] = []
    pattern_given = False
    position = 0
    after_dashes = False
    while position < len(words):
        word = words[position]
        position += 1
        if word.value is None and word.plain_variables and _prints_only(spec, base, operands):
            operands.append(Word(word.text, ""))
            continue
        if word.value is None:
            return "an argument is computed when the command runs"
        if word.may_be_option and not spec.any_option and not after_dashes:
            return f"{word.text} could expand to an option of {base}"
        text = word.value
        if after_dashes or not text.startswith("-") or text == "-":
            operands.append(word)
            continue
        if text == "--":
            after_dashes = True
            continue
        if spec.any_option or (spec.number and text[1:].isdigit()):
            options.append((text, None))
            if "=" in text and "/" in text:
                paths.append(Word(text.split("=", 1)[1], text.split("=", 1)[1]))
            continue
        split = split_option(spec, text)
        if split is None:
            return f"{base} {text} is not a known read-only option"
        for name, value, needs_value in split:
            if needs_value and value is None:
                if position == len(words) or words[position].value is None:
                    return f"{base} {name} needs a value"
                if words[position].glob:
                    return f"{words[position].text} could expand to an option of {base}"
                value = words[position].value
                position += 1
            options.append((name, value))
            pattern_given = pattern_given or name in spec.pattern_options
    if spec.most is not None and len(operands) > spec.most:
        return f"{base} with {len(operands)} operands may write a file"
    if spec.most is not None and any(word.glob for word in operands):
        return f"{base} may write a file: a pattern can expand to more operands"
    if spec.check and (reason := spec.check(options, [word.value or "" for word in operands])):
        return reason
    match spec.operands:
        case "text":
            return paths, options
        case "pattern" if not pattern_given:
            return [*paths, *operands[1:]], options
        case _:
            return [*paths, *operands], options


def _prints_only(spec: ProgramSpec, base: str, operands: Sequence[Word]) -> bool:
    """Whether any text may follow: for printf, once its format is known."""
    if base == "printf":
        return bool(operands)
    return spec.operands == "text" and spec.any_option and spec.check is None


def expand(word: Word, cwds: Sequence[str]) -> list[str]:
    """The absolute paths that a word names in any of the directories; patterns are expanded."""
    text = word.value or ""
    found: list[str] = []
    for cwd in cwds:
        path = os.path.join(cwd, text)
        if not word.glob:
            found.append(path)
            continue
        fixed = path[: min(path.find(c) for c in "*?[" if c in path)]
        found.append(os.path.dirname(fixed) or "/")
        found.extend(islice(glob.iglob(path, include_hidden=True), _MOST_MATCHES))
    return found
