"""A model's summary held against the record.

What can be known for sure is taken from the record and never asked of a model: which files were
changed, which commands ran and how they ended. What the model says of such things stands only
where the record knows of them, and what an earlier summary said is carried on.
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
_BEFORE = re.compile(r"^changed before: (.+)$")
_COMMAND = re.compile(r"^`(.+?)` \(exit (-?\d+)\)")
_NOTHING = re.compile(r"^(?:no|none|nothing|n/a)\b(?:\W+\w+){0,2}\W*$", re.IGNORECASE)
_DENIAL = re.compile(
    r"^(?:no|none|nothing)\b|:\s*(?:none|nothing)\W*$"
    r"|\b(?:is|are) (?:all )?(?:done|completed?)\W*$",
    re.IGNORECASE,
)
_GO_ON = "go on after the last step:"
_ASKED = 0.6
"""Share of a claim's words that the user used, from which it can be the user's."""
_AGAIN = 0.85
"""Share from which it only repeats what the user said."""
_CHANGES = re.compile(
    r"\b(?:chang|edit|writ|wrote|add|creat|updat|fix|mend|modif|rewr|replac|remov|delet|docum)\w*",
    re.IGNORECASE,
)
_SINGLE = 6
"""Changed files that are told of one by one; older ones share a line."""
_READ = 4
_GROUPED = 80
"""Names on that line."""
_MOST_CLAIMS = {"Goal": 3, "Constraints": 8, "Decisions": 8, "Failed": 8, "Commands": 8, "Open": 6}


@dataclass(frozen=True)
class _File:
    changed: bool
    added: int = 0
    removed: int = 0
    events: tuple[Range, ...] = ()


def ground(said: Summary, found: Extract, before: Summary | None = None) -> Summary:
    """The summary that goes on: `said` by the model of the events in `found`, and `before` of all
    that happened earlier."""
    before = before or Summary()
    said = attribute(
        Summary(
            {
                name: [claim for claim in claims if not _NOTHING.match(claim.text)]
                for name, claims in said.sections.items()
            }
        ),
        found.evidence,
    )
    known = found.summary
    result = Summary()
    asked = set(_stems(text for _, text in found.tasks)) | set(
        _stems(claim.text for claim in before.claims("Goal") + before.claims("Constraints"))
    )
    goals = [claim for claim in said.claims("Goal") if _share(claim, asked) >= _ASKED]
    result.add("Goal", *(goals or before.claims("Goal") or known.claims("Goal")))
    result.add("Constraints", *before.claims("Constraints"), *known.claims("Constraints"))
    for claim in said.claims("Constraints"):
        if _share(claim, asked) >= _ASKED and not _is_told(claim, result, "Constraints"):
            result.add("Constraints", claim)
    # What only says the task again is no decision, and no step that was taken.
    fresh = Summary(
        {
            name: [claim for claim in claims if _share(claim, asked) < _AGAIN]
            for name, claims in said.sections.items()
        }
    )
    result.add("Decisions", *before.claims("Decisions"))
    for claim in fresh.claims("Decisions") or known.claims("Decisions"):
        if not _is_told(claim, result, "Decisions"):
            result.add("Decisions", claim)
    result.add("Files", *merged_files([*before.claims("Files"), *file_claims(found)]))
    result.add("Files", *_about_files(fresh.claims("Files"), result.claims("Files")))
    _commands(result, before, known, fresh)
    # Who summarises in the middle of the work has not ended it.
    steps = [
        claim
        for claim in said.claims("Open")
        if not _DENIAL.search(claim.text) and not claim.text.startswith(_GO_ON)
    ]
    result.add("Open", *(steps or known.claims("Open")))
    if not result.claims("Open") and not found.outcome and found.last is not None:
        seq, what = found.last
        result.add("Open", Claim(f"{_GO_ON} {what}", ((seq, seq),)))
    result.limit(_MOST_CLAIMS)
    return result


def own_words(summary: Summary) -> Summary:
    """What only a model could say: without what is told of files and of commands."""
    sections = {name: list(claims) for name, claims in summary.sections.items()}
    sections["Files"] = [
        claim
        for claim in summary.claims("Files")
        if not _FILE.match(claim.text) and not _BEFORE.match(claim.text)
    ]
    for name in ("Commands", "Failed"):
        sections[name] = [c for c in summary.claims(name) if not _COMMAND.match(c.text)]
    return Summary(sections)


def merged_files(claims: Iterable[Claim], *, singles: int = _SINGLE) -> list[Claim]:
    """What is known of files, each told of once: the last `singles` changed ones with their sizes,
    older ones by name on one line, the last that were only read. Older claims come first."""
    files: dict[str, _File] = {}
    rest: list[Claim] = []
    for claim in claims:
        if match := _BEFORE.match(claim.text):
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
        names = older[-_GROUPED:]
        more = f", and {len(older) - len(names)} more" if len(older) > len(names) else ""
        numbers = [
            n for path in older for first, last in changed[path].events for n in (first, last)
        ]
        events = ((min(numbers), max(numbers)),) if numbers else ()
        made.append(Claim(f"changed before: {', '.join(names)}{more}", events))
    for path in list(changed)[-singles:]:
        file = changed[path]
        size = f" (+{file.added} -{file.removed})" if file.added or file.removed else ""
        made.append(Claim(f"{path}: changed{size}", _few(file.events)))
    made += [Claim(f"{path}: read", _few(read[path].events)) for path in list(read)[-_READ:]]
    return [*made, *rest]


def facts(found: Extract, *, characters: int = 700) -> str:
    """What is known for sure of a stretch of events, in few words, for the model to build on."""
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


def _about_files(said: list[Claim], known: list[Claim]) -> list[Claim]:
    """What the model says of files that it did touch, where it is not what the record denies."""
    changed: set[str] = set()
    read: set[str] = set()
    for claim in known:
        if match := _BEFORE.match(claim.text):
            changed.update(match.group(1).split(", "))
        elif match := _FILE.match(claim.text):
            (changed if match.group(2) == "changed" else read).add(match.group(1))
    kept = []
    for claim in said:
        names = set(names_in(claim.text))
        says_changed = _CHANGES.search(claim.text) is not None
        if names & changed and not names & read and not names - changed - read:
            # That it was changed stands there already.
            if len(set(words_in(claim.text)) - set(words_in(" ".join(names)))) > 4:
                kept.append(claim)
        elif names & read and not says_changed:
            kept.append(claim)
    return kept[:4]


def _commands(result: Summary, before: Summary, known: Summary, said: Summary) -> None:
    """Commands that work and what failed. A command that failed and works now is no failure."""
    ended: dict[str, tuple[str, Claim]] = {}
    for claim in (
        *before.claims("Commands"), *before.claims("Failed"),
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
    for claim in own_words(said).claims("Commands"):
        told = next((command for command in works if command in claim.text), None)
        if told is not None and len(claim.text) > len(told) + 20:  # it says what it is for
            result.add("Commands", claim)
    for claim in own_words(said).claims("Failed"):
        if not _is_told(claim, result, "Failed"):
            result.add("Failed", claim)


def _share(claim: Claim, words: set[str]) -> float:
    """Share of a claim's words that are among these."""
    own = set(_stems([claim.text]))
    return len(own & words) / len(own) if own else 0.0


def _is_told(claim: Claim, summary: Summary, section: str) -> bool:
    """Whether a section says as much already, in about the same words."""
    words = set(_stems([claim.text]))
    return any(
        len(words & set(_stems([known.text]))) >= 0.75 * len(words)
        for known in summary.claims(section)
    )


def _stems(texts: Iterable[str]) -> Iterable[str]:
    return (word[:6] for text in texts for word in words_in(text))


def _few(events: tuple[Range, ...]) -> tuple[Range, ...]:
    return events if len(events) <= 4 else (events[0], *events[-3:])


def shortened(summary: Summary) -> bool:
    """Take out one claim that can best be spared; False when none can. No changed file is
    forgotten: it is told of by its name only."""
    for name, least in (
        ("Decisions", 3), ("Failed", 2), ("Commands", 2), ("Files", 3), ("Constraints", 3),
        ("Goal", 1), ("Open", 2), ("Decisions", 0), ("Failed", 0), ("Commands", 0),
    ):  # fmt: skip
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
    return _BEFORE.match(claim.text) is not None
