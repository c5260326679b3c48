"""`laguna completion SHELL`: prints a script that completes commands, flags and names.

The script holds the commands and flags of this version; names of sessions, models, packs and
memories come from `laguna completion --names KIND`, which reads only directories.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from laguna_agent.errors import ExitCode
from laguna_agent.interfaces.commands.command_line import Parser, write_line
from laguna_agent.interfaces.commands.overview import GROUPS

SHELLS: tuple[str, ...] = ("bash", "zsh", "fish")
_KINDS = {
    "model": "models",
    "models": "models",
    "pack": "packs",
    "packs": "packs",
    "extends": "packs",
    "resume": "sessions",
    "fork": "sessions",
    "session": "sessions",
    "sessions": "sessions",
    "memory": "memories",
    "memories": "memories",
}
"""What an argument names, by its name in the parser."""
_PLAIN = re.compile(r"[\w.,:@%+/-]+")
"""Names that no shell takes for more than a word: bash expands what it is offered."""


def make_parser() -> Parser:
    """The command line of `laguna completion`."""
    parser = Parser(
        prog="laguna completion",
        description="Print a script that completes commands, flags and names in your shell.",
        examples=(
            "source <(laguna completion bash)   # in ~/.bashrc, or:",
            "laguna completion bash > ~/.local/share/bash-completion/completions/laguna",
            "source <(laguna completion zsh)    # in ~/.zshrc, after compinit",
            "laguna completion fish > ~/.config/fish/completions/laguna.fish",
        ),
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("shell", nargs="?", choices=SHELLS)
    what.add_argument("--names", choices=sorted({*_KINDS.values()}), help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str]) -> int:
    """Print a script, or names; nothing that fails here may disturb a prompt."""
    if len(argv) == 2 and argv[0] == "--names":  # at each Tab: without a parser
        with suppress(OSError):
            offered = (name for name in names(argv[1]) if _PLAIN.fullmatch(name))
            sys.stdout.write("".join(f"{name}\n" for name in offered))
        return ExitCode.DONE
    options = make_parser().parse_args(argv)
    write_line({"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell](list(places())))
    return ExitCode.DONE


def names(kind: str) -> list[str]:
    """The names of a kind that are there, sessions and memories of this repository newest first."""
    from laguna_agent import paths

    state = paths.repository_state_dir(paths.repository_root(Path.cwd()))
    match kind:
        case "sessions":
            return sorted(_listed(state / "sessions"), reverse=True)
        case "memories":
            found = (name.removesuffix(".md") for name in _listed(state / "memory"))
            return sorted(found, reverse=True)
        case "models":
            return _models(paths.models_dir())
        case "packs":
            from laguna_agent import prompts

            folders = [paths.config_dir() / "prompts", Path(prompts.__file__).parent]
            return sorted(
                {n for f in folders for n in _listed(f) if (f / n / "pack.toml").exists()}
            )
    return []


def _listed(directory: Path) -> list[str]:
    with suppress(OSError):
        return [name for name in os.listdir(directory) if name[0] not in "._"]
    return []


def _models(directory: Path) -> list[str]:
    import json

    index: dict[str, dict[str, object]] = {}
    with suppress(OSError, ValueError):
        index = json.loads((directory / "index.json").read_bytes())
    return sorted(index.get("models", {}))


# --- what there is to complete --------------------------------------------------------------


class Flag(NamedTuple):
    """A flag: its spellings, what it is for, and the values or the kind of names it takes."""

    spellings: tuple[str, ...]
    about: str
    takes_value: bool
    values: tuple[str, ...]
    kind: str


class Place(NamedTuple):
    """The words that were typed, and what can follow: actions with descriptions, flags, names."""

    words: str
    next: dict[str, str]
    flags: list[Flag]
    kind: str


def places() -> Iterator[Place]:
    """Every command and action, from the parsers themselves."""
    from importlib import import_module

    from laguna_agent.interfaces.commands.flags import make_parser as root

    commands = {name: text for group in GROUPS.values() for name, text in group.items()}
    yield _place("", root(), {**commands, "help": "show the help of a command"})
    for name in commands:
        module = import_module(f"laguna_agent.interfaces.commands.{name}")
        parser: Parser = module.make_parser()
        actions = {
            action.dest: action.help or ""
            for group in parser._actions
            if isinstance(group, argparse._SubParsersAction)
            for action in group._choices_actions
        }
        if name == "completion":
            actions = dict.fromkeys(SHELLS, "")
        yield _place(name, parser, actions)
        for action in list(parser.walk())[1:]:
            yield _place(action.prog.removeprefix("laguna "), action, {})


def _place(words: str, parser: argparse.ArgumentParser, following: dict[str, str]) -> Place:
    flags, kind = [], ""
    for action in parser._actions:
        values = tuple(str(value) for value in action.choices or ())
        if action.option_strings and action.help != argparse.SUPPRESS:
            takes = action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction)
            named = "directories" if action.dest == "directory" else _KINDS.get(action.dest, "")
            spelled, about = tuple(action.option_strings), action.help or ""
            flags.append(Flag(spelled, about.partition("%(")[0], takes, values, named * takes))
        elif action.dest in _KINDS and not following:
            kind = _KINDS[action.dest]
    return Place(words, following, flags, kind)


# --- the scripts ----------------------------------------------------------------------------


def _cases(found: Sequence[Place]) -> tuple[list[str], list[str], list[str]]:
    """Branches of `case`: the known words, the values of flags, and what follows."""
    known = [f'"{" ".join(p.words.split()[:-1])} {p.words.split()[-1]}"' for p in found if p.words]
    values, following = [], []
    for place in found:
        for flag in place.flags:
            if flag.takes_value:
                patterns = "|".join(f'"{place.words} {spelling}"' for spelling in flag.spellings)
                values.append(f"{patterns}) {_reply(flag.values, flag.kind)} ;;")
        spellings = " ".join(s for flag in place.flags for s in flag.spellings)
        values_of = _reply(tuple(place.next), place.kind)
        following.append(f'"{place.words}") flags="{spellings}"; {values_of} ;;')
    return known, values, following


def _reply(words: tuple[str, ...], kind: str) -> str:
    if words:
        return f'list="{" ".join(words)}"'
    if kind == "directories":
        return "files=-d"
    return f'list="$(laguna completion --names {kind} 2>/dev/null)"' if kind else "files=-f"


_LOOK = """\
    for w in {before}; do
        case "$place $w" in
            {known}) place="${{place:+$place }}$w" ;;
        esac
    done
    case "$place $prev" in
        {values}
        *) case "$place" in
            {following}
        esac ;;
    esac
    case "$cur" in -*) list="$flags" ;; esac"""


def _look(found: Sequence[Place], before: str) -> str:
    known, values, following = _cases(found)
    return _LOOK.format(
        before=before,
        known="|".join(known),
        values="\n        ".join(values),
        following="\n            ".join(following),
    )


def _bash(found: Sequence[Place]) -> str:
    return f"""\
# bash completion for laguna
_laguna() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}"
    local place="" w list="" flags="" files=""
{_look(found, '"${COMP_WORDS[@]:1:COMP_CWORD-1}"')}
    COMPREPLY=($(compgen $files -W "$list" -- "$cur"))
}}
complete -F _laguna laguna"""


def _zsh(found: Sequence[Place]) -> str:
    return f"""\
#compdef laguna
_laguna() {{
    local cur="$words[CURRENT]" prev="$words[CURRENT-1]" place="" w list="" flags="" files=""
{_look(found, '"${(@)words[2,CURRENT-1]}"')}
    if [[ -n "$list" ]]; then compadd -- ${{=list}}
    elif [[ "$files" == -d ]]; then _files -/
    else _files
    fi
}}
compdef _laguna laguna"""


def _fish(found: Sequence[Place]) -> str:
    lines = ["# fish completion for laguna", "complete -c laguna -f"]
    actions = {place.words: " ".join(place.next) for place in found}
    for place in found:
        when = [f"__fish_seen_subcommand_from {word}" for word in place.words.split()]
        here = " ; and ".join(when) or "__fish_use_subcommand"
        alone = here
        if place.words and actions[place.words]:
            alone += f" ; and not __fish_seen_subcommand_from {actions[place.words]}"
        for name, about in place.next.items():
            lines.append(f"complete -c laguna -n '{alone}' -a {name} -d {_quoted(about)}")
        if place.kind:
            offered = f"(laguna completion --names {place.kind} 2>/dev/null)"
            lines.append(f"complete -c laguna -n '{here}' -a '{offered}'")
        for flag in place.flags:
            spelled = "".join(
                f" -l {text[2:]}" if text.startswith("--") else f" -s {text[1:]}"
                for text in flag.spellings
            )
            value = ""
            if flag.kind == "directories":
                value = " -x -a '(__fish_complete_directories)'"
            elif flag.kind:
                value = f" -x -a '(laguna completion --names {flag.kind} 2>/dev/null)'"
            elif flag.values:
                value = f" -x -a '{' '.join(flag.values)}'"
            elif flag.takes_value:
                value = " -r -F"
            about = f" -d {_quoted(flag.about)}" if flag.about else ""
            lines.append(f"complete -c laguna -n '{here}'{spelled}{value}{about}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
