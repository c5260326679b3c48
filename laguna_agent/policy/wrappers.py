"""Finds the commands that a command line runs through wrappers, `sh -c` and `find -exec`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from laguna_agent.policy.command_table import WRAPPERS, ProgramSpec
from laguna_agent.policy.shell_syntax import SimpleCommand, Word, parse

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
        yield from _expanded(simple, depth)


def _expanded(simple: SimpleCommand, depth: int) -> Iterator[tuple[SimpleCommand, bool]]:
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
    base = os.path.basename(inner.name or "")
    values = [word.value for word in inner.words]
    if base in ("eval", "source", "."):
        yield from _text_run(values[1:] if base == "eval" else [None], depth)
    elif base in _SHELLS:
        for index, value in enumerate(values[1:], start=1):
            if value is None:
                yield inner, False
                break
            if value.startswith("-") and not value.startswith("--") and "c" in value:
                yield from _text_run(values[index + 1 : index + 2], depth)
                break
    elif base == "find":
        for index, value in enumerate(values):
            if value in ("-exec", "-execdir", "-ok", "-okdir"):
                yield from _expanded(
                    SimpleCommand(inner.words[index + 1 :], inner.text, True), depth
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
