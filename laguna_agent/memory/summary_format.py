"""The fixed structure of summaries: seven sections of claims that point to their events.

Compaction and memory share the format. A claim's events follow it, as `[e12]` or
`[e12, e40-e44]`; in a week's file they follow their session, as `[261124-173708-x7qd e12]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SECTIONS: Mapping[str, str] = {
    "Goal": "what the user wants",
    "Constraints": "what the user asked for or ruled out",
    "Decisions": "what was decided and why",
    "Files": "what was read or changed, and its state",
    "Failed": "what was tried and did not work",
    "Commands": "commands that work",
    "Open": "the next steps",
}
"""Names of the sections, in order, and what each contains."""

Range = tuple[int, int]

_EVENTS = re.compile(r"\s*\[((?:[0-9a-z-]+ )?e\d+(?:-e?\d+)?(?:, e\d+(?:-e?\d+)?)*)\]\s*$")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")
_HEADING = re.compile(
    r"^\s*(?:#+\s*|\*\*)?(" + "|".join(SECTIONS) + r")\b[^:\n]{0,40}?(?:\*\*)?:?(?:\*\*)?\s*(.*)$"
)


@dataclass(frozen=True)
class Claim:
    """One line of a summary and the ranges of the events that support it."""

    text: str
    events: tuple[Range, ...] = ()
    session: str = ""
    """The session of the events, where it is not the file's own."""

    def render(self) -> str:
        """The line with its pointer to the events."""
        if not self.events:
            return self.text
        numbers = ", ".join(
            f"e{first}" if first == last else f"e{first}-e{last}" for first, last in self.events
        )
        return f"{self.text} [{self.session + ' ' if self.session else ''}{numbers}]"


@dataclass
class Summary:
    """Claims by section."""

    sections: dict[str, list[Claim]] = field(default_factory=dict)

    def claims(self, name: str) -> list[Claim]:
        """The claims of one section."""
        return self.sections.get(name, [])

    def add(self, name: str, *claims: Claim) -> None:
        """Add claims to a section, without duplicates."""
        known = self.sections.setdefault(name, [])
        texts = {claim.text for claim in known}
        known.extend(claim for claim in claims if claim.text not in texts)

    @property
    def empty(self) -> bool:
        """True when no section has a claim."""
        return not any(self.sections.values())

    def limit(self, most: Mapping[str, int]) -> None:
        """Keep at most so many claims of each section: a third of them from its beginning, which
        says how the work started, the rest from its end, which says where it is now."""
        for name, count in most.items():
            claims = self.claims(name)
            if len(claims) > count:
                self.sections[name] = claims[: count // 3] + claims[-(count - count // 3) :]

    def render(self, *, heading: str = "{}:") -> str:
        """The summary as text: under a heading for each section, one claim a line."""
        parts = [
            "\n".join(
                [heading.format(name), *(f"- {claim.render()}" for claim in self.claims(name))]
            )
            for name in SECTIONS
            if self.claims(name)
        ]
        return "\n\n".join(parts) if heading.startswith("#") else "\n".join(parts)


def parse_claim(line: str) -> Claim:
    """Parse a line into a claim, without its bullet and pointer."""
    text = _BULLET.sub("", line).strip()
    match = _EVENTS.search(text)
    if match is None:
        return Claim(text)
    session, pointer = "", match.group(1)
    if " " in (head := pointer.split(", ")[0]):
        session = head.split(" ")[0]
        pointer = pointer.removeprefix(session + " ")
    ranges: list[Range] = []
    for piece in pointer.split(", "):
        first, _, last = piece.replace("e", "").partition("-")
        ranges.append((int(first), int(last or first)))
    return Claim(text[: match.start()].rstrip(), tuple(ranges), session)


def parse_summary(text: str) -> Summary:
    """Parse text in the fixed structure; lines before the first heading belong to the goal.

    Lenient, because people edit these texts and models write them without a grammar: headings may
    be Markdown, and claims may lack bullets.
    """
    summary, section = Summary(), "Goal"
    for line in text.split("\n"):
        heading = _HEADING.match(line)
        if heading is not None and not _BULLET.match(line):
            section = heading.group(1)
            line = heading.group(2)
        if line.strip() in ("", "-", "—", "none", "None", "(none)", "- none", "- None"):
            continue
        summary.add(section, parse_claim(line))
    return summary


_LINES = {"Goal": 2, "Constraints": 3, "Decisions": 4, "Files": 4, "Failed": 4, "Commands": 3,
          "Open": 5}  # fmt: skip
"""Claims in a summary of about a thousand tokens, few where the record has the facts anyway."""


def summary_grammar(*, tokens: int = 1_200, characters: int = 200) -> str:
    """GBNF for the sections in order, each with at most as many claims as let all sections fit
    into `tokens`."""
    share = min(1.5, tokens / 900)
    rules = [
        "root ::= " + ' "\\n" '.join(f'"{name}:" {name.lower()}' for name in SECTIONS),
        *(
            f"{name.lower()} ::= claim{{1,{max(1, round(most * share))}}}"
            for name, most in _LINES.items()
        ),
        'claim ::= "\\n- " [^ \\t\\r\\n-] [^\\r\\n]' + f"{{0,{characters - 1}}}",
    ]
    return "\n".join(rules) + "\n"


def ranges_of(numbers: Iterable[int]) -> tuple[Range, ...]:
    """Event numbers as ranges of consecutive ones."""
    ranges: list[Range] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
