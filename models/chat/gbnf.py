"""Builds GBNF, llama.cpp's grammar notation: literals, bounded repetition, text without markers.

llama.cpp refuses left recursion, repetitions that expand to more than 2000 rules, and names with
anything but letters, digits and hyphens. A grammar is matched against the text of tokens, so a
literal matches a single special token as well as the same text spelled in ordinary ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

_MAX_REPETITION = 500
"""Above this, repetitions are nested; llama.cpp's own limit is 2000 rules."""
_MAX_RESTARTS = 8
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CLASS_ESCAPES = {"\\": "\\\\", "]": "\\]", "[": "\\[", "-": "\\-"} | {
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


def literal(text: str) -> str:
    """The GBNF literal of `text`."""
    return '"' + "".join(_ESCAPES.get(c) or _plain(c) for c in text) + '"'


def char_class(characters: Iterable[str], *, negated: bool = False) -> str:
    """A character class. Negated and without characters it matches any character."""
    body = "".join(
        "\\x5E" if c == "^" else _CLASS_ESCAPES.get(c) or _plain(c) for c in sorted(set(characters))
    )
    if not body:
        return "." if negated else '""'
    return f"[{'^' if negated else ''}{body}]"


def _plain(character: str) -> str:
    return character if character >= " " and character != "\x7f" else f"\\x{ord(character):02X}"


def choice(alternatives: Sequence[str]) -> str:
    """Alternatives, in parentheses when there are several."""
    return alternatives[0] if len(alternatives) == 1 else "(" + " | ".join(alternatives) + ")"


class Gbnf:
    """A grammar under construction. Each rule has a key and is added once."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        self._names: dict[object, str] = {}

    def rule(self, key: object, hint: str, body: Callable[[], str]) -> str:
        """The name of the rule with this key; `body` builds it at the first use and may refer to
        it again. `hint` is what its name begins with."""
        if key in self._names:
            return self._names[key]
        name = re.sub(r"[^a-zA-Z0-9-]+", "-", hint).strip("-") or "r"
        if name in self._rules or name == "root":
            name = f"{name}-x{len(self._rules)}"
        self._names[key] = name
        self._rules[name] = ""
        self._rules[name] = body()
        return name

    def source(self, root: str) -> str:
        """The whole grammar with `root` as the body of its root rule."""
        lines = [f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._rules.items())]
        return "\n".join(lines) + "\n"

    def repeat(self, item: str, low: int, high: int | None) -> str:
        """`item` (a rule name or a class) between `low` and `high` times, however large they are.

        At most two readings are possible at any point, so that matching stays fast.
        """
        if high is None:
            if low > _MAX_REPETITION:
                return f"{self.repeat(item, low, low)} {item}*"
            return f"{item}*" if low == 0 else f"{item}{{{low},}}"
        if high <= 0:
            return '""'
        if high <= _MAX_REPETITION:
            return f"{item}{{{low},{high}}}"
        if low:
            head = self._exactly(item, low)
            return f"{head} {self.repeat(item, 0, high - low)}" if high > low else head
        size = max(2, min(_MAX_REPETITION, int(high**0.5)))
        whole, rest = divmod(high, size)
        chunk = self.rule(("chunk", item, size), "chunk", lambda: f"{item}{{{size},{size}}}")
        shorter = f"{self.repeat(chunk, 0, whole - 1)} {item}{{0,{size - 1}}}"
        longest = self._exactly(chunk, whole) + (f" {item}{{0,{rest}}}" if rest else "")
        return f"({shorter} | {longest})"

    def _exactly(self, item: str, count: int) -> str:
        if count <= _MAX_REPETITION:
            return f"{item}{{{count},{count}}}"
        size = int(count**0.5)
        chunk = self.rule(("chunk", item, size), "chunk", lambda: f"{item}{{{size},{size}}}")
        rest = count % size
        head = self._exactly(chunk, count // size)
        return f"{head} {item}{{{rest},{rest}}}" if rest else head

    def text(self, forbidden: Sequence[str], low: int = 0, high: int | None = None) -> str:
        """Any text that contains none of `forbidden`.

        `high` bounds its characters, roughly: a character that begins a forbidden text counts as
        one with those that follow it until the forbidden text is ruled out.
        """
        return Text(self, forbidden).between(low, high)


class Text:
    """The automaton of texts without forbidden parts.

    A state is the longest suffix of the text so far that begins a forbidden text.
    """

    def __init__(self, grammar: Gbnf, forbidden: Sequence[str]) -> None:
        self._grammar = grammar
        self._forbidden = tuple(sorted(set(forbidden)))
        self._prefixes = {word[:n] for word in self._forbidden for n in range(len(word))} | {""}
        self._alphabet = sorted({c for word in self._forbidden for c in word})

    def step(self, state: str, character: str) -> str | None:
        """The state after one more character; None when that completes a forbidden text."""
        read = state + character
        if any(read.endswith(word) for word in self._forbidden):
            return None
        while read not in self._prefixes:
            read = read[1:]
        return read

    def notable(self, state: str) -> dict[str, str | None]:
        """Characters that do not lead back to the empty state."""
        steps = {c: self.step(state, c) for c in self._alphabet}
        return {c: after for c, after in steps.items() if after != ""}

    def between(self, low: int, high: int | None) -> str:
        """Expression of the texts with `low` to `high` characters; None is no bound."""
        if low <= 0 and high is None:
            return self._rest("")
        unit = self._unit("")
        return f"{self._grammar.repeat(unit, low, high)} {self._tail('')}"

    def _rest(self, state: str) -> str:
        """The rest of a text of any length from a state on."""

        def body() -> str:
            steps = [
                f"{literal(c)} {self._rest(after)}"
                for c, after in self.notable(state).items()
                if after is not None
            ]
            other = char_class(self.notable(state), negated=True)
            return " | ".join(['""', f"{other} {self._rest('')}", *steps])

        return self._grammar.rule((self._forbidden, "rest", state), "text", body)

    def _unit(self, state: str, restarts: int = _MAX_RESTARTS) -> str:
        """One character, or the beginning of a forbidden text through what rules it out."""

        def body() -> str:
            steps = [
                f"{literal(c)} {self._unit(after, left)}"
                for c, after, left in self._steps(state, restarts)
            ]
            return " | ".join([char_class(self.notable(state), negated=True), *steps])

        return self._grammar.rule((self._forbidden, "unit", state, restarts), "unit", body)

    def _tail(self, state: str, restarts: int = _MAX_RESTARTS) -> str:
        """The beginning of a forbidden text at the end of the text, or nothing."""

        def body() -> str:
            steps = [
                f"{literal(c)} {self._tail(after, left)}"
                for c, after, left in self._steps(state, restarts)
            ]
            return " | ".join(['""', *steps])

        return self._grammar.rule((self._forbidden, "tail", state, restarts), "tail", body)

    def _steps(self, state: str, restarts: int) -> list[tuple[str, str, int]]:
        """Steps to states that are not empty. A beginning restarts (`<<`) at most `restarts` times,
        so that a bounded text ends."""
        found = []
        for character, after in self.notable(state).items():
            if after is not None:
                left = restarts - (after != state + character)
                if left >= 0:
                    found.append((character, after, left))
        return found
