"""Finds the commands that a command line runs through wrappers, `sh -c` and `find -exec`."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence

from laguna_agent.policy.command_table import WRAPPERS, ProgramSpec
from laguna_agent.policy.shell_syntax import Script, SimpleCommand, Word, parse

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})


def unwrap(simple: SimpleCommand) -> SimpleCommand | None:
    """The command that a wrapper such as `timeout 5 …` runs; None if it is not visible.

    Returns a command that is not a wrapper unchanged.
    """
    current = simple
    for _ in range(16):
        base = os.path.basename(current.name or "")
        spec = WRAPPERS.get(base)
        if spec is None or not current.words:
            return current
        rest = _after_options(spec, current.words[1:])
        if base == "env" and (split := _split_string(current.words[1:])) is not None:
            rest = split
        if rest is None:
            return None
        if base in ("timeout", "chrt", "chroot", "ssh"):
            rest = rest[1:]
        while base in ("env", "sudo", "doas") and rest and "=" in (rest[0].value or ""):
            rest = rest[1:]
        if not rest:
            return current
        current = SimpleCommand(list(rest), current.text, current.top)
    return None


def _split_string(words: Sequence[Word]) -> list[Word] | None:
    """The command that `env -S 'git push'` runs, or None for an env without that option."""
    for index, word in enumerate(words):
        text = word.value or ""
        if not text.startswith("-"):
            return None
        match = re.match(r"-[^-CuS]*S(.*)|--split-string(?:=(.*))?$", text, re.DOTALL)
        if match is None:
            continue
        given = match.group(1) or match.group(2)
        rest = list(words[index + 1 :])
        if not given and rest:
            given, rest = rest[0].value or "", rest[1:]
        try:
            parts = shlex.split(given or "")
        except ValueError:
            return None
        return [*(Word(part, part) for part in parts), *rest]
    return None


def _after_options(spec: ProgramSpec, words: Sequence[Word]) -> list[Word] | None:
    position = 0
    while position < len(words):
        word = words[position]
        if word.value is None or word.may_be_option:
            return None
        if not word.value.startswith("-") or word.value == "-":
            break
        position += 1
        if word.value == "--":
            break
        split = split_option(spec, word.value)
        if split is None:
            return None
        if split[-1][2] and split[-1][1] is None:
            position += 1
    return list(words[position:])


def visible_commands(command: str, depth: int = 0) -> Iterator[tuple[SimpleCommand, bool]]:
    """Every simple command that a line visibly runs, through wrappers, `sh -c` and `find -exec`.

    The flag is False where something more runs that is not visible.
    """
    script = parse(command)
    if not script.parsed:
        # Expansions are visible as unknown words; what does not parse may hide anything.
        yield SimpleCommand([], command, True), False
    for simple in script.commands:
        yield from expanded(simple, depth)
    for text in texts_for_shells(script):
        yield from _text_run([text], depth)


def expanded(simple: SimpleCommand, depth: int = 0) -> Iterator[tuple[SimpleCommand, bool]]:
    """A simple command and all that it visibly runs; see `visible_commands`."""
    if simple.name is None:
        yield simple, False
        return
    yield simple, True
    inner = unwrap(simple)
    if inner is None:
        yield simple, False
        return
    if inner is not simple:
        if inner.name is None:
            yield inner, False
            return
        yield inner, True
    if (texts := texts_run(inner)) is not None:
        yield from _text_run(texts, depth)
    if os.path.basename(inner.name or "") == "find":
        for index, word in enumerate(inner.words):
            if word.value in ("-exec", "-execdir", "-ok", "-okdir"):
                yield from expanded(
                    SimpleCommand(inner.words[index + 1 :], inner.text, True), depth
                )


def texts_run(simple: SimpleCommand) -> list[str | None] | None:
    """The text that `sh -c` or `eval` runs as a command line, with None for what is not known.

    None for a command that runs no text.
    """
    base = os.path.basename(simple.name or "")
    values = [word.value for word in simple.words]
    if base in ("source", "."):
        return [None]
    if base == "eval":
        return values[1:]
    if base in _SHELLS:
        for index, value in enumerate(values[1:], start=1):
            if value is None:
                return [None]
            if value.startswith("-") and not value.startswith("--") and "c" in value:
                return values[index + 1 : index + 2]
    return None


def texts_for_shells(script: Script) -> list[str | None]:
    """The text that shells read from their standard input: what the line prints or quotes."""
    if not any(_reads_commands(simple) for simple in script.commands):
        return []
    texts: list[str | None] = list(script.documents)
    for simple in script.commands:
        if simple.name in ("echo", "printf"):
            words = [word.value for word in simple.words[1:] if word.value not in ("-e", "-n")]
            known = [word for word in words if word is not None]
            text = " ".join(known).replace("\\n", "\n")
            texts.append(text if len(known) == len(words) else None)
    return texts or [None]


def _reads_commands(simple: SimpleCommand) -> bool:
    """Whether this is a shell without a script, which runs what it reads."""
    inner = unwrap(simple)
    if inner is None or os.path.basename(inner.name or "") not in _SHELLS:
        return False
    values = [word.value or "" for word in inner.words[1:]]
    options = [value for value in values if value.startswith("-")]
    if any(option == "--version" or "c" in option.lstrip("-") for option in options):
        return False
    return len(options) == len(values) or any(
        "s" in option and not option.startswith("--") for option in options
    )


def _text_run(values: Sequence[str | None], depth: int) -> Iterator[tuple[SimpleCommand, bool]]:
    known = [value for value in values if value is not None]
    if len(known) != len(values) or depth > 4:
        yield SimpleCommand([], "", True), False
        return
    yield from visible_commands(" ".join(known), depth + 1)


def split_option(spec: ProgramSpec, text: str) -> list[tuple[str, str | None, bool]] | None:
    """For each option in a word: its name, attached value, and whether it needs a value."""
    if text.startswith("--"):
        name, equals, value = text.partition("=")
        if equals:
            return [(name, value, False)] if name in spec.longs | spec.valued_longs else None
        if name in spec.longs:
            return [(name, None, False)]
        return [(name, None, True)] if name in spec.valued_longs else None
    found: list[tuple[str, str | None, bool]] = []
    for index, letter in enumerate(text[1:], start=1):
        if letter in spec.valued:
            found.append((f"-{letter}", text[index + 1 :] or None, True))
            return found
        if letter not in spec.flags:
            return None
        found.append((f"-{letter}", None, False))
    return found
