"""Extracts from a range of events what can be summarised without a model.

The goal comes from the user's messages, constraints from imperatives in them, decisions from the
plan and from reasons that the model gave, files with their changes and commands with their exit
codes from tool results. One pass, bounded memory. `Evidence` finds the events that support a claim
of the model's own summary.
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
    TurnStarted,
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
    r"since|therefore|on purpose|by design|chose|choose|the (bug|problem|fix|reason) (is|was))\b",
    re.IGNORECASE,
)
_TOOL_NOTE = re.compile(r"\[(?:exit|stopped|still|ended|the command)\b.*\]")
"""A line that the shell tool adds."""
_PROGRAM = re.compile(r"(?:\w+=\S* )*(?:(?:python3?|uv|poetry) (?:-m|run) )?(\S+)")
_PROBES = frozenset({"grep", "rg", "diff", "cmp", "test", "[", "which", "command", "ls", "cat"})
"""Programs whose failure as a rule is an answer."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_MOST_EVENTS = 4_000
"""Events that are searched for evidence; more than any epoch has."""
_MOST_CLAIMS = {
    "Goal": 3,
    "Constraints": 8,
    "Decisions": 8,
    "Files": 15,
    "Failed": 8,
    "Commands": 10,
}


_NO_CHANGE = "nothing was changed."
"""How the refusal of a change ends that the file has already."""
_FEWEST_WORDS = 2
"""Of a summary that says something."""


@dataclass
class CommandRun:
    """A command, the exit code of its last run, and the events of all runs."""

    command: str
    exit_code: int
    events: list[int] = field(default_factory=list)
    last_line: str = ""


@dataclass(frozen=True)
class FailedCall:
    """A call that was refused or did not work, and is no command."""

    seq: int
    tool: str
    path: str
    text: str


@dataclass
class FileTouched:
    """A file, the lines that changed in it, and the events that changed or read it."""

    path: str
    added: int = 0
    removed: int = 0
    changed: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)


@dataclass
class Extract:
    """What a range of events contains."""

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
    """The last tool result: its event, and a line about it."""
    files: OrderedDict[str, FileTouched] = field(default_factory=OrderedDict)
    commands: OrderedDict[str, CommandRun] = field(default_factory=OrderedDict)
    check: str = ""
    """The check of the task, which `done` runs."""
    failed_calls: list[FailedCall] = field(default_factory=list)
    worked: dict[tuple[str, str], int] = field(default_factory=dict)
    """The last event in which a tool worked, by tool and path."""
    undone: tuple[int, str] | None = None
    """The note that a person undid changes: its event and text."""
    plan: list[PlanStep] = field(default_factory=list)
    plan_seq: int = 0
    symbols: Counter[str] = field(default_factory=Counter)
    summary: Summary = field(default_factory=Summary)
    """The summary that was derived from the events, every claim with its events."""
    evidence: Evidence = field(default_factory=lambda: Evidence())

    @property
    def files_changed(self) -> list[str]:
        """Changed paths, in the order of their first change."""
        return [item.path for item in self.files.values() if item.changed]


class Evidence:
    """Finds the events that support a sentence: those that share its rarest words."""

    def __init__(self) -> None:
        self._events: list[tuple[int, frozenset[str]]] = []
        self._counts: Counter[str] = Counter()

    def add(self, seq: int, text: str) -> None:
        """Index the words of an event."""
        words = frozenset(_stems(text[:8_000]))
        if words and len(self._events) < _MOST_EVENTS:
            self._events.append((seq, words))
            self._counts.update(words)

    def of(self, text: str, *, most: int = 2) -> tuple[tuple[int, int], ...]:
        """Ranges of the events that support a sentence; the range of all when none stands out."""
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
    """Leading letters of words, so that `subtracted` matches `subtracts`."""
    return (word[:6] for word in words_in(text))


def extract(
    events: Iterable[StoredEvent], *, keeps: Callable[[int], bool] = lambda seq: True
) -> Extract:
    """Extract what a range of events contains, in one pass.

    Of rewound events (`keeps` is false for their number) only failed checks count.
    """
    found = Extract()
    calls: OrderedDict[str, dict[str, object]] = OrderedDict()
    for stored in events:
        found.first_seq = found.first_seq or stored.seq
        found.started = found.started or stored.ts
        found.last_seq, found.ended = stored.seq, stored.ts
        if keeps(stored.seq):
            _add_event(found, stored, calls)
        elif isinstance(stored.event, CheckRan) and stored.event.exit_code:
            check = stored.event
            _add_command(found, stored.seq, check.command, check.exit_code, check.output)
    _summarise(found)
    return found


def attribute(summary: Summary, evidence: Evidence) -> Summary:
    """The summary with events added to the claims that have none."""
    return Summary(
        {
            name: [
                claim if claim.events else Claim(claim.text, evidence.of(claim.text))
                for claim in claims
            ]
            for name, claims in summary.sections.items()
        }
    )


def _add_event(
    found: Extract, stored: StoredEvent, calls: OrderedDict[str, dict[str, object]]
) -> None:
    seq, event = stored.seq, stored.event
    match event:
        case SessionStarted():
            found.session = event.session
            found.model = str(event.model.get("name", ""))
        case UserMessage():
            found.tasks.append((seq, event.text))
            found.evidence.add(seq, event.text)
            _add_constraints(found, seq, event.text)
        case Reply() if not event.discarded:
            text = " ".join([event.text, *(str(call.arguments) for call in event.tool_calls)])
            found.evidence.add(seq, text)
            _add_symbols(found, text)
            _add_decisions(found, seq, event.text)
            for call in event.tool_calls:
                calls[call.id] = call.arguments
                if len(calls) > 64:
                    calls.popitem(last=False)
        case ToolFinished():
            found.evidence.add(seq, f"{event.title} {event.content}")
            _add_tool_result(found, seq, event, calls.pop(event.call_id, {}))
            found.last = seq, clip(f"{event.title or event.name}: {event.content}", 200)
        case CheckRan():
            found.check = event.command
            found.evidence.add(seq, f"{event.command} {event.output}")
            _add_command(found, seq, event.command, event.exit_code, event.output)
        case SystemNote():
            found.evidence.add(seq, event.text)
            if event.reason in ("undone", "redone"):
                found.undone = (seq, event.text) if event.reason == "undone" else None
                found.outcome = found.outcome or ("done" if found.undone is None else "")
        case TurnStarted() if event.settings is not None and event.settings.check:
            found.check = event.settings.check
        case PlanUpdated():
            found.plan, found.plan_seq = event.steps, seq
            for step in event.steps:
                if step.status == "done":
                    found.summary.add("Decisions", Claim(f"done: {step.text}", ((seq, seq),)))
        case Compacted():
            found.evidence.add(seq, event.summary)
        case TurnFinished():
            found.outcome, found.outcome_seq = event.status, seq
            told = event.summary if len(event.summary.split()) >= _FEWEST_WORDS else ""
            found.result = told or event.error or found.result
            for path in event.files_changed:
                if path not in found.files:
                    _file(found, path).changed.append(seq)
        case _:
            pass


def _add_constraints(found: Extract, seq: int, text: str) -> None:
    for sentence in _SENTENCE.split(text):
        if _CONSTRAINT.search(sentence):
            found.summary.add("Constraints", Claim(clip(sentence, 240), ((seq, seq),)))


def _add_decisions(found: Extract, seq: int, text: str) -> None:
    for sentence in _SENTENCE.split(text):
        if 20 <= len(sentence) <= 400 and _REASON.search(sentence):
            found.summary.add("Decisions", Claim(clip(sentence, 240), ((seq, seq),)))


def _add_symbols(found: Extract, text: str) -> None:
    found.symbols.update(name for name in names_in(text[:8_000]) if len(split_name(name)) > 1)


def _file(found: Extract, path: str) -> FileTouched:
    return found.files.setdefault(path, FileTouched(path))


def _add_tool_result(
    found: Extract, seq: int, event: ToolFinished, arguments: dict[str, object]
) -> None:
    for path in event.files_changed:
        touched = _file(found, path)
        touched.changed.append(seq)
        lines = event.diff.split("\n")
        if len(event.files_changed) == 1:
            touched.added += sum(x.startswith("+") and not x.startswith("+++") for x in lines)
            touched.removed += sum(x.startswith("-") and not x.startswith("---") for x in lines)
    named = arguments.get("path")
    path = named if isinstance(named, str) else ""
    if path and event.ok and path not in event.files_changed:
        _file(found, path).read.append(seq)
    if event.ok:
        found.worked[event.name, path] = seq
    command = arguments.get("command")
    if event.name == "done":  # no command: what it ran is the check
        if event.exit_code is not None and found.check:
            _add_command(found, seq, found.check, event.exit_code, event.content)
    elif event.exit_code is not None:
        shown = command if isinstance(command, str) else event.title or event.name
        _add_command(found, seq, shown, event.exit_code, event.content)
    elif not event.ok and not event.content.endswith(_NO_CHANGE):
        what = event.title or event.name
        first = next((x for x in event.content.split("\n") if x.strip()), "")
        text = clip(f"{what}: {first}", 240)
        found.failed_calls.append(FailedCall(seq, event.name, path, text))


def _add_command(found: Extract, seq: int, command: str, exit_code: int, output: str) -> None:
    command = clip(" ".join(command.split()), 160)
    run = found.commands.setdefault(command, CommandRun(command, exit_code))
    run.exit_code = exit_code
    run.events.append(seq)
    lines = [line.strip() for line in output[-2_000:].split("\n") if line.strip()]
    lines = [line for line in lines if not _TOOL_NOTE.fullmatch(line)] or lines
    run.last_line = clip(lines[-1], 160) if lines else ""


def _summarise(found: Extract) -> None:
    summary = found.summary
    for seq, text in found.tasks[:1] + found.tasks[1:][-2:]:
        summary.add("Goal", Claim(clip(" ".join(text.split()), 400), ((seq, seq),)))
    summary.add("Files", *file_claims(found))
    for call in found.failed_calls:
        if found.worked.get((call.tool, call.path), 0) < call.seq:
            summary.add("Failed", Claim(call.text, ((call.seq, call.seq),)))
    for run in found.commands.values():
        if run.exit_code == 0:
            summary.add("Commands", Claim(f"`{run.command}` (exit 0)", _some(run.events)))
        elif not _is_settled(run, found):
            why = f": {run.last_line}" if run.last_line else ""
            text = f"`{run.command}` (exit {run.exit_code}){why}"
            summary.add("Failed", Claim(text, _some(run.events)))
    for step in found.plan:
        if step.status in ("pending", "active"):
            summary.add("Open", Claim(step.text, ((found.plan_seq, found.plan_seq),)))
    if found.outcome and found.outcome != "done":
        text = clip(f"the last turn ended as {found.outcome}: {found.result}".rstrip(": "), 240)
        summary.add("Open", Claim(text, ((found.outcome_seq, found.outcome_seq),)))
    if found.undone is not None:
        seq, text = found.undone
        claim = Claim(clip(f"a person undid changes: {text}", 240), ((seq, seq),))
        summary.add("Failed", claim)
    summary.limit(_MOST_CLAIMS)


def _is_settled(run: CommandRun, found: Extract) -> bool:
    """Whether the failure of a command says nothing any more: the work ended well, and the same
    program worked since, or it only looked for something."""
    program = program_of(run.command)
    if found.outcome != "done":
        return False
    return program in _PROBES or any(
        other.exit_code == 0 and other.events[-1] > run.events[-1]
        for other in found.commands.values()
        if program_of(other.command) == program
    )


def program_of(command: str) -> str:
    """The program that a command runs, for the comparison of two runs of it."""
    match = _PROGRAM.match(command)
    return match.group(1) if match else command


def file_claims(found: Extract) -> list[Claim]:
    """A claim for each file, changed ones first, in the order of their first change."""
    claims = []
    for touched in sorted(found.files.values(), key=lambda item: not item.changed):
        if touched.changed:
            size = (
                f" (+{touched.added} -{touched.removed})"
                if touched.added or touched.removed
                else ""
            )
            claims.append(Claim(f"{touched.path}: changed{size}", _some(touched.changed)))
        else:
            claims.append(Claim(f"{touched.path}: read", _some(touched.read)))
    return claims


def _some(numbers: list[int]) -> tuple[tuple[int, int], ...]:
    return ranges_of(numbers if len(numbers) <= 4 else [numbers[0], *numbers[-3:]])
