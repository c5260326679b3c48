"""What can be said of a stretch of a trajectory without asking a model.

Goal from the user's words, constraints from their imperatives, decisions from the plan and from
the reasons the model gave, files with what changed, commands with their exit codes. One pass,
bounded memory. It also finds the events that a claim of the model's own summary rests on.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from laguna_agent.clip import clip
from laguna_agent.events import (
    CheckRan,
    Compacted,
    PlanStep,
    PlanUpdated,
    Reply,
    SessionStarted,
    SystemNote,
    ToolFinished,
    TurnFinished,
    UserMessage,
)
from laguna_agent.memory.summary_format import Claim, Summary, ranges_of
from laguna_agent.memory.words import names_in, split_name, words_in
from laguna_agent.trajectory.codec import StoredEvent

_CONSTRAINT = re.compile(
    r"\b(must|never|always|do not|don't|dont|only|without|should|avoid|keep|no longer|instead of|"
    r"make sure|ensure|prefer|at most|at least|not allowed|forbid\w*|require[sd]?)\b",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\b(because|instead|decided?|decision|rather than|so that|the (root )?cause|turns out|"
    r"chose|choose|the (bug|problem|fix|reason) (is|was))\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_WINDOW = 4_000
"""Events that evidence is looked for in; more than any epoch has."""
_MOST_CLAIMS = {
    "Goal": 3,
    "Constraints": 8,
    "Decisions": 8,
    "Files": 15,
    "Failed": 8,
    "Commands": 10,
}


@dataclass
class CommandRun:
    """A command, how it ended the last time, and where."""

    command: str
    exit_code: int
    events: list[int] = field(default_factory=list)
    last_line: str = ""


@dataclass
class FileTouched:
    """A file, what was done to it, and where."""

    path: str
    added: int = 0
    removed: int = 0
    changed: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)


@dataclass
class Extract:
    """What a stretch of events holds."""

    first_seq: int = 0
    last_seq: int = 0
    started: str = ""
    ended: str = ""
    session: str = ""
    model: str = ""
    tasks: list[tuple[int, str]] = field(default_factory=list)
    outcome: str = ""
    outcome_seq: int = 0
    result: str = ""
    last: tuple[int, str] | None = None
    """The last step: its event, and what came of it in a line."""
    files: OrderedDict[str, FileTouched] = field(default_factory=OrderedDict)
    commands: OrderedDict[str, CommandRun] = field(default_factory=OrderedDict)
    plan: list[PlanStep] = field(default_factory=list)
    plan_seq: int = 0
    symbols: Counter[str] = field(default_factory=Counter)
    summary: Summary = field(default_factory=Summary)
    """The deterministic summary, every claim with its events."""
    evidence: Evidence = field(default_factory=lambda: Evidence())

    @property
    def files_changed(self) -> list[str]:
        """Paths that were changed, in the order of their first change."""
        return [item.path for item in self.files.values() if item.changed]


class Evidence:
    """Finds the events that a sentence rests on: those that share its rarest words."""

    def __init__(self) -> None:
        self._events: list[tuple[int, frozenset[str]]] = []
        self._counts: Counter[str] = Counter()

    def add(self, seq: int, text: str) -> None:
        """Know the words of an event."""
        words = frozenset(_stems(text[:8_000]))
        if words and len(self._events) < _WINDOW:
            self._events.append((seq, words))
            self._counts.update(words)

    def of(self, text: str, *, most: int = 2) -> tuple[tuple[int, int], ...]:
        """Ranges of the events behind a sentence; all events when none fits better."""
        if not self._events:
            return ()
        wanted = {word for word in _stems(text) if word in self._counts}
        scored = []
        for seq, words in self._events:
            shared = wanted & words
            score = sum(1.0 / self._counts[word] for word in shared)
            if len(shared) >= min(2, len(wanted)) and score > 0:
                scored.append((score, seq))
        if not scored:
            return ((self._events[0][0], self._events[-1][0]),)
        best = max(scored)[0]
        good = sorted(scored, key=lambda item: (-item[0], item[1]))[:most]
        return ranges_of(seq for score, seq in good if score >= 0.6 * best)


def _stems(text: str) -> Iterator[str]:
    """Words by their beginnings, so that `subtracted` meets `subtracts`."""
    return (word[:6] for word in words_in(text))


def extract(
    events: Iterable[StoredEvent], *, keeps: Callable[[int], bool] = lambda seq: True
) -> Extract:
    """Read a stretch of events once and say what it holds.

    Of events that were rewound (`keeps` is false for their number) only what failed counts.
    """
    found = Extract()
    calls: OrderedDict[str, dict[str, object]] = OrderedDict()
    for stored in events:
        found.first_seq = found.first_seq or stored.seq
        found.started = found.started or stored.ts
        found.last_seq, found.ended = stored.seq, stored.ts
        if keeps(stored.seq):
            _take(found, stored, calls)
        elif isinstance(stored.event, CheckRan) and stored.event.exit_code:
            check = stored.event
            _command(found, stored.seq, check.command, check.exit_code, check.output)
    _summarise(found)
    return found


def attribute(summary: Summary, evidence: Evidence) -> Summary:
    """The summary with event numbers put after the claims that have none."""
    return Summary(
        {
            name: [
                claim if claim.events else Claim(claim.text, evidence.of(claim.text))
                for claim in claims
            ]
            for name, claims in summary.sections.items()
        }
    )


def _take(found: Extract, stored: StoredEvent, calls: OrderedDict[str, dict[str, object]]) -> None:
    seq, event = stored.seq, stored.event
    match event:
        case SessionStarted():
            found.session = event.session
            found.model = str(event.model.get("name", ""))
        case UserMessage():
            found.tasks.append((seq, event.text))
            found.evidence.add(seq, event.text)
            _constraints(found, seq, event.text)
        case Reply() if not event.discarded:
            text = " ".join([event.text, *(str(call.arguments) for call in event.tool_calls)])
            found.evidence.add(seq, text)
            _symbols(found, text)
            _decisions(found, seq, event.text)
            for call in event.tool_calls:
                calls[call.id] = call.arguments
                if len(calls) > 64:
                    calls.popitem(last=False)
        case ToolFinished():
            found.evidence.add(seq, f"{event.title} {event.content}")
            _tool(found, seq, event, calls.pop(event.call_id, {}))
            found.last = seq, clip(f"{event.title or event.name}: {event.content}", 200)
        case CheckRan():
            found.evidence.add(seq, f"{event.command} {event.output}")
            _command(found, seq, event.command, event.exit_code, event.output)
        case SystemNote():
            found.evidence.add(seq, event.text)
        case PlanUpdated():
            found.plan, found.plan_seq = event.steps, seq
            for step in event.steps:
                if step.status == "done":
                    found.summary.add("Decisions", Claim(f"done: {step.text}", ((seq, seq),)))
        case Compacted():
            found.evidence.add(seq, event.summary)
        case TurnFinished():
            found.outcome, found.outcome_seq = event.status, seq
            found.result = event.summary or event.error or found.result
            for path in event.files_changed:
                if path not in found.files:
                    _file(found, path).changed.append(seq)
        case _:
            pass


def _constraints(found: Extract, seq: int, text: str) -> None:
    for sentence in _SENTENCE.split(text):
        if _CONSTRAINT.search(sentence):
            found.summary.add("Constraints", Claim(clip(sentence, 240), ((seq, seq),)))


def _decisions(found: Extract, seq: int, text: str) -> None:
    for sentence in _SENTENCE.split(text):
        if 20 <= len(sentence) <= 400 and _REASON.search(sentence):
            found.summary.add("Decisions", Claim(clip(sentence, 240), ((seq, seq),)))


def _symbols(found: Extract, text: str) -> None:
    found.symbols.update(name for name in names_in(text[:8_000]) if len(split_name(name)) > 1)


def _file(found: Extract, path: str) -> FileTouched:
    return found.files.setdefault(path, FileTouched(path))


def _tool(found: Extract, seq: int, event: ToolFinished, arguments: dict[str, object]) -> None:
    for path in event.files_changed:
        touched = _file(found, path)
        touched.changed.append(seq)
        lines = event.diff.split("\n")
        if len(event.files_changed) == 1:
            touched.added += sum(x.startswith("+") and not x.startswith("+++") for x in lines)
            touched.removed += sum(x.startswith("-") and not x.startswith("---") for x in lines)
    named = arguments.get("path")
    if isinstance(named, str) and event.ok and named not in event.files_changed:
        _file(found, named).read.append(seq)
    command = arguments.get("command")
    if event.exit_code is not None:
        shown = command if isinstance(command, str) else event.title or event.name
        _command(found, seq, shown, event.exit_code, event.content)
    elif not event.ok:
        what = event.title or event.name
        first = next((x for x in event.content.split("\n") if x.strip()), "")
        found.summary.add("Failed", Claim(clip(f"{what}: {first}", 240), ((seq, seq),)))


def _command(found: Extract, seq: int, command: str, exit_code: int, output: str) -> None:
    command = clip(" ".join(command.split()), 160)
    run = found.commands.setdefault(command, CommandRun(command, exit_code))
    run.exit_code = exit_code
    run.events.append(seq)
    lines = [line.strip() for line in output[-2_000:].split("\n") if line.strip()]
    run.last_line = clip(lines[-1], 160) if lines else ""


def _summarise(found: Extract) -> None:
    summary = found.summary
    for seq, text in found.tasks[:1] + found.tasks[1:][-2:]:
        summary.add("Goal", Claim(clip(" ".join(text.split()), 400), ((seq, seq),)))
    summary.add("Files", *file_claims(found))
    for run in found.commands.values():
        if run.exit_code == 0:
            summary.add("Commands", Claim(f"`{run.command}` (exit 0)", _few(run.events)))
        else:
            why = f": {run.last_line}" if run.last_line else ""
            text = f"`{run.command}` (exit {run.exit_code}){why}"
            summary.add("Failed", Claim(text, _few(run.events)))
    for step in found.plan:
        if step.status in ("pending", "active"):
            summary.add("Open", Claim(step.text, ((found.plan_seq, found.plan_seq),)))
    if found.outcome and found.outcome != "done":
        text = clip(f"the last turn ended as {found.outcome}: {found.result}".rstrip(": "), 240)
        summary.add("Open", Claim(text, ((found.outcome_seq, found.outcome_seq),)))
    summary.limit(_MOST_CLAIMS)


def file_claims(found: Extract) -> list[Claim]:
    """What was done to each file: changed ones first, in the order of their first change."""
    claims = []
    for touched in sorted(found.files.values(), key=lambda item: not item.changed):
        if touched.changed:
            size = (
                f" (+{touched.added} -{touched.removed})"
                if touched.added or touched.removed
                else ""
            )
            claims.append(Claim(f"{touched.path}: changed{size}", _few(touched.changed)))
        else:
            claims.append(Claim(f"{touched.path}: read", _few(touched.read)))
    return claims


def _few(numbers: list[int]) -> tuple[tuple[int, int], ...]:
    return ranges_of(numbers if len(numbers) <= 4 else [numbers[0], *numbers[-3:]])
