"""Checks a model's summary against the record.

Facts come from the record and not from the model: which files changed, which commands ran and how
they ended. Claims of the model about such facts stay only where the record confirms them. Claims
of earlier summaries are carried over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from laguna_agent.clip import clip
from laguna_agent.memory.extract import Extract, attribute, file_claims
from laguna_agent.memory.summary_format import Claim, Range, Summary
from laguna_agent.memory.words import names_in, words_in

_FILE = re.compile(r"^(\S+): (changed|read)(?: \(\+(\d+) -(\d+)\))?$")
_EARLIER = re.compile(r"^changed before: (.+)$")
_COMMAND = re.compile(r"^`(.+?)` \(exit (-?\d+)\)")
_NOTHING = re.compile(r"^(?:no|none|nothing|n/a)\b(?:\W+\w+){0,2}\W*$", re.IGNORECASE)
_DENIAL = re.compile(
    r"^(?:no|none|nothing)\b|:\s*(?:none|nothing)\W*$"
    r"|\b(?:is|are) (?:all )?(?:done|completed?)\W*$",
    re.IGNORECASE,
)
_CONTINUE = "go on after the last step:"
_REQUESTED = 0.6
"""Share of a claim's words in the user's messages from which it can be the user's request."""
_REPEATED = 0.85
"""Share from which a claim only repeats the user's messages."""
_CHANGES = re.compile(
    r"\b(?:chang|edit|writ|wrote|add|creat|updat|fix|mend|modif|rewr|replac|remov|delet|docum)\w*",
    re.IGNORECASE,
)
_MOST_CHANGED = 6
"""Changed files that have a line each; older ones share one."""
_MOST_READ = 4
_MOST_GROUPED = 80
"""File names on that line."""
_MOST_CLAIMS = {"Goal": 3, "Constraints": 8, "Decisions": 8, "Failed": 8, "Commands": 8, "Open": 6}


@dataclass(frozen=True)
class _File:
    changed: bool
    added: int = 0
    removed: int = 0
    events: tuple[Range, ...] = ()


def ground(claimed: Summary, found: Extract, earlier: Summary | None = None) -> Summary:
    """Merge the model's summary of the events in `found` with the facts of those events and the
    `earlier` summary of what came before them."""
    earlier = earlier or Summary()
    claimed = attribute(
        Summary(
            {
                name: [claim for claim in claims if not _NOTHING.match(claim.text)]
                for name, claims in claimed.sections.items()
            }
        ),
        found.evidence,
    )
    known = found.summary
    result = Summary()
    requested = set(_stems(text for _, text in found.tasks)) | set(
        _stems(claim.text for claim in earlier.claims("Goal") + earlier.claims("Constraints"))
    )
    goals = [claim for claim in claimed.claims("Goal") if _share(claim, requested) >= _REQUESTED]
    result.add("Goal", *(goals or earlier.claims("Goal") or known.claims("Goal")))
    result.add("Constraints", *earlier.claims("Constraints"), *known.claims("Constraints"))
    for claim in claimed.claims("Constraints"):
        if _share(claim, requested) >= _REQUESTED and not _is_covered(claim, result, "Constraints"):
            result.add("Constraints", claim)
    # A claim that repeats the task is neither a decision nor a step that was taken.
    fresh = Summary(
        {
            name: [claim for claim in claims if _share(claim, requested) < _REPEATED]
            for name, claims in claimed.sections.items()
        }
    )
    result.add("Decisions", *earlier.claims("Decisions"))
    for claim in fresh.claims("Decisions") or known.claims("Decisions"):
        if not _is_covered(claim, result, "Decisions"):
            result.add("Decisions", claim)
    result.add("Files", *merged_files([*earlier.claims("Files"), *file_claims(found)]))
    result.add("Files", *_about_files(fresh.claims("Files"), result.claims("Files")))
    _add_commands(result, earlier, known, fresh)
    # A summary in the middle of the work has open steps, whatever the model claims.
    steps = [
        claim
        for claim in claimed.claims("Open")
        if not _DENIAL.search(claim.text) and not claim.text.startswith(_CONTINUE)
    ]
    result.add("Open", *(steps or known.claims("Open")))
    if not result.claims("Open") and not found.outcome and found.last is not None:
        seq, what = found.last
        result.add("Open", Claim(f"{_CONTINUE} {what}", ((seq, seq),)))
    result.limit(_MOST_CLAIMS)
    return result


def own_words(summary: Summary) -> Summary:
    """The summary without claims in the form of facts about files and commands."""
    sections = {name: list(claims) for name, claims in summary.sections.items()}
    sections["Files"] = [
        claim
        for claim in summary.claims("Files")
        if not _FILE.match(claim.text) and not _EARLIER.match(claim.text)
    ]
    for name in ("Commands", "Failed"):
        sections[name] = [c for c in summary.claims(name) if not _COMMAND.match(c.text)]
    return Summary(sections)


def command_of(text: str) -> str | None:
    """The command whose end a claim states."""
    match = _COMMAND.match(text)
    return match.group(1) if match else None


def merged_files(claims: Iterable[Claim], *, singles: int = _MOST_CHANGED) -> list[Claim]:
    """Merge claims about files, oldest first: a line for each of the last `singles` changed files,
    one line for older changed ones, and lines for the last files that were only read."""
    files: dict[str, _File] = {}
    rest: list[Claim] = []
    for claim in claims:
        if match := _EARLIER.match(claim.text):
            for path in match.group(1).split(", "):
                if not path.startswith("and "):
                    files[path] = _File(changed=True, events=claim.events)
        elif match := _FILE.match(claim.text):
            path, kind, added, removed = match.groups()
            old = files.pop(path, _File(changed=False))
            files[path] = _File(
                old.changed or kind == "changed",
                old.added + int(added or 0),
                old.removed + int(removed or 0),
                claim.events if kind == "changed" or not old.changed else old.events,
            )
        else:
            rest.append(claim)
    changed = {path: file for path, file in files.items() if file.changed}
    read = {path: file for path, file in files.items() if not file.changed}
    older = list(changed)[:-singles]
    made: list[Claim] = []
    if older:
        names = older[-_MOST_GROUPED:]
        more = f", and {len(older) - len(names)} more" if len(older) > len(names) else ""
        numbers = [
            n for path in older for first, last in changed[path].events for n in (first, last)
        ]
        events = ((min(numbers), max(numbers)),) if numbers else ()
        made.append(Claim(f"changed before: {', '.join(names)}{more}", events))
    for path in list(changed)[-singles:]:
        file = changed[path]
        size = f" (+{file.added} -{file.removed})" if file.added or file.removed else ""
        made.append(Claim(f"{path}: changed{size}", _some(file.events)))
    made += [Claim(f"{path}: read", _some(read[path].events)) for path in list(read)[-_MOST_READ:]]
    return [*made, *rest]


def facts(found: Extract, *, characters: int = 700) -> str:
    """The facts of a range of events in a few lines, for the model to build its summary on."""
    known = found.summary
    parts = []
    changed = [path for path, file in found.files.items() if file.changed]
    if changed:
        parts.append(f"Changed files: {clip(', '.join(changed), characters // 2)}")
    for name, head in (("Commands", "Commands that ended well"), ("Failed", "What failed")):
        claims = [clip(claim.text, 90) for claim in known.claims(name)[-4:]]
        if claims:
            parts.append(f"{head}: {'; '.join(claims)}")
    return "\n".join(clip(part, characters // 2) for part in parts)


def _about_files(claimed: list[Claim], known: list[Claim]) -> list[Claim]:
    """The model's claims about files that it touched, without those that the record contradicts."""
    changed: set[str] = set()
    read: set[str] = set()
    for claim in known:
        if match := _EARLIER.match(claim.text):
            changed.update(match.group(1).split(", "))
        elif match := _FILE.match(claim.text):
            (changed if match.group(2) == "changed" else read).add(match.group(1))
    kept = []
    for claim in claimed:
        names = set(names_in(claim.text))
        says_changed = _CHANGES.search(claim.text) is not None
        if names & changed and not names & read and not names - changed - read:
            # That the file changed is on record: the claim has to add something.
            if len(set(words_in(claim.text)) - set(words_in(" ".join(names)))) > 4:
                kept.append(claim)
        elif names & read and not says_changed:
            kept.append(claim)
    return kept[:4]


def _add_commands(result: Summary, earlier: Summary, known: Summary, claimed: Summary) -> None:
    """Add commands that work, and failures. A command that failed once and works now is none."""
    ended: dict[str, tuple[str, Claim]] = {}
    for claim in (
        *earlier.claims("Commands"), *earlier.claims("Failed"),
        *known.claims("Failed"), *known.claims("Commands"),
    ):  # fmt: skip
        match = _COMMAND.match(claim.text)
        if match is None:
            ended.setdefault(claim.text, ("Failed", claim))
        else:
            ended.pop(match.group(1), None)
            name = "Commands" if match.group(2) == "0" else "Failed"
            ended[match.group(1)] = (name, claim)
    for name, claim in ended.values():
        result.add(name, claim)
    works = {command for command, (name, _) in ended.items() if name == "Commands"}
    for claim in own_words(claimed).claims("Commands"):
        named = next((command for command in works if command in claim.text), None)
        if named is not None and len(claim.text) > len(named) + 20:  # it adds a purpose
            result.add("Commands", claim)
    for claim in own_words(claimed).claims("Failed"):
        if not _is_covered(claim, result, "Failed"):
            result.add("Failed", claim)


def _share(claim: Claim, words: set[str]) -> float:
    """Share of a claim's words that are in `words`."""
    own = set(_stems([claim.text]))
    return len(own & words) / len(own) if own else 0.0


def _is_covered(claim: Claim, summary: Summary, section: str) -> bool:
    """Whether a section already has a claim with about the same words."""
    words = set(_stems([claim.text]))
    return any(
        len(words & set(_stems([known.text]))) >= 0.75 * len(words)
        for known in summary.claims(section)
    )


def _stems(texts: Iterable[str]) -> Iterable[str]:
    return (word[:6] for text in texts for word in words_in(text))


def _some(events: tuple[Range, ...]) -> tuple[Range, ...]:
    return events if len(events) <= 4 else (events[0], *events[-3:])


_DROPPED = (
    ("Decisions", 3), ("Failed", 2), ("Commands", 2), ("Files", 3), ("Constraints", 3),
    ("Goal", 1), ("Open", 2), ("Decisions", 0), ("Failed", 0), ("Commands", 0),
)  # fmt: skip
"""In which order claims are dropped: a section, and how many of it stay."""


def drop_claim(summary: Summary, order: Iterable[tuple[str, int]] = _DROPPED) -> bool:
    """Remove the least important claim; False when every remaining one is needed. Changed files
    are never dropped, but move to the line of older ones."""
    for name, least in order:
        claims = summary.claims(name)
        if len(claims) <= least:
            continue
        if name != "Files":
            del claims[len(claims) // 3]
            return True
        singles = sum(_is_changed(claim) for claim in claims)
        if singles > 1:
            summary.sections[name] = merged_files(claims, singles=singles - 1)
            return True
        spare = [claim for claim in claims if not _is_changed(claim) and not _is_group(claim)]
        if spare:
            claims.remove(spare[0])
            return True
    return False


def _is_changed(claim: Claim) -> bool:
    match = _FILE.match(claim.text)
    return match is not None and match.group(2) == "changed"


def _is_group(claim: Claim) -> bool:
    return _EARLIER.match(claim.text) is not None
