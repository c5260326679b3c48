"""What is remembered of real sessions is true, short, and told to the next task that needs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from laguna_agent.events import Event, Reply
from laguna_agent.memory.memory_store import Memory, MemoryStore
from laguna_agent.memory.summaries import MOST_WORDS
from laguna_agent.models.conversation import Message
from support.scripted import Script, call, calls, open_scripted, take

SUM = "def add(a, b):\n    return a - b\n"
FIX = call("edit", path="calc.py", old="a - b", new="a + b")
CHECK = "grep -q 'a + b' calc.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "calc.py").write_text(SUM)
    return root


async def work(root: Path, text: str, script: Script, **options: Any) -> tuple[list[Event], str]:
    """The events of a session with one task, and the first message of its prompt."""
    session, talk = await open_scripted(root, script, **options)
    events = await take(session, text)
    await session.aclose()
    first = next(entry for entry in talk.entries if isinstance(entry, Message))
    return events, first.content


async def told(root: Path, text: str, **options: Any) -> str:
    """What the next task is told of earlier work."""
    _, first = await work(root, text, [Reply(text="Yes.")], **options)
    return first.partition("Memory of earlier work")[2].partition("```")[0]


def remembered(root: Path) -> Memory:
    """The one session that is remembered, as a whole."""
    store = MemoryStore(root)
    found = {memory.session: memory for memory in store.memories("segment")}
    found |= {memory.session: memory for memory in store.memories("session")}
    (memory,) = found.values()
    return memory


def failed(memory: Memory) -> list[str]:
    return [claim.text for claim in memory.summary.claims("Failed")]


# --- true -------------------------------------------------------------------------------------


async def test_a_check_that_passed_in_the_end_is_no_failure(root: Path) -> None:
    script = [call("done", summary="Is it?"), FIX, call("done", summary="add adds now.")]
    await work(root, "Make add right", script, check=CHECK)
    memory = remembered(root)
    assert memory.outcome == "done"
    assert failed(memory) == []
    assert [(command.run, command.exit) for command in memory.commands] == [(CHECK, 0)]
    assert "add adds now." in memory.body
    assert "Failed" not in await told(root, "Make add in calc.py take three numbers")


@pytest.mark.parametrize(
    ("before", "remains"),
    [
        (call("edit", path="calc.py", old="a * b", new="a + b"), False),  # the next edit worked
        (call("shell", command="grep -q nothing calc.py"), False),  # only an answer
        (call("shell", command="sh -c 'exit 3'"), False),  # the same program works later
        (call("shell", command="python3 -m no_such_module"), True),
        (call("read", path="missing.py"), True),
    ],
    ids=["edit", "probe", "same program", "program", "read"],
)
async def test_of_work_that_ended_well_only_failures_that_stand_are_told(
    root: Path, before: Reply, remains: bool
) -> None:
    script = [before, FIX, call("shell", command="sh -c true"), Reply(text="add adds.")]
    await work(root, "Make add right", script)
    assert bool(failed(remembered(root))) is remains


async def test_a_failure_says_why(root: Path) -> None:
    await work(
        root, "Run it", [call("shell", command="(echo no lexer; exit 2)"), Reply(text="No.")]
    )
    (why,) = failed(remembered(root))
    assert why == "`(echo no lexer; exit 2)` (exit 2): no lexer"


async def test_a_summary_of_a_word_and_a_change_that_was_there_already_say_nothing(
    root: Path,
) -> None:
    right = call("write", path="calc.py", content=SUM.replace("-", "+"))
    look, run = call("read", path="calc.py"), call("shell", command="true")
    script = [look, right, run, right, call("done", summary="Summary")]
    await work(root, "Make add right", script)
    memory = remembered(root)
    assert failed(memory) == []
    assert "Summary" not in memory.body


async def test_a_failure_of_a_turn_is_settled_by_a_later_turn(root: Path) -> None:
    look = call("shell", command=f'bash -c "{CHECK}"')
    script = [look, Reply(text="No."), FIX, look, Reply(text="Yes.")]
    session, _ = await open_scripted(root, script)
    await take(session, "Is add right?")
    assert failed(remembered(root))
    await take(session, "Make add right then")
    await session.aclose()
    memory = remembered(root)
    assert memory.level == "session"
    assert memory.outcome == "done"
    assert failed(memory) == []


@pytest.mark.parametrize("last", [Reply(text="Counted."), call("done", summary="Counted.")])
async def test_a_session_that_ended_well_after_a_compaction_is_not_open(
    root: Path, last: Reply
) -> None:
    def reply() -> Reply:
        if talk.options[-1].grammar is not None:
            return Reply(text="Goal: count.\nOpen: count on.")
        return next(script)

    count = call("shell", command="seq 7 2007")
    script = iter([count, call("shell", command="seq 3"), call("shell", command="seq 4"), last])
    session, talk = await open_scripted(root, [reply], limit=3_000)
    await take(session, "Count to 2007 with seq")
    compacted = session.trajectory.meta.compactions
    await session.aclose()
    assert compacted
    memories = list(MemoryStore(root).memories())
    assert {memory.outcome for memory in memories} == {"done"}
    assert not any("go on after" in memory.body or "## Open" in memory.body for memory in memories)
    assert "open:" not in await told(root, "Count with seq again")


async def test_what_was_rewound_is_not_remembered(root: Path) -> None:
    session, _ = await open_scripted(root, [FIX, Reply(text="It adds."), Reply(text="Hello.")])
    await take(session, "Say nothing yet about zebras")
    first = session.conversation_state.user_messages[0].seq
    await session.rewind(first, code=True)
    assert list(MemoryStore(root).memories()) == []
    await take(session, "Greet me")
    await session.aclose()
    assert "zebras" not in remembered(root).body
    assert remembered(root).files == []


@pytest.mark.parametrize("redone", [False, True])
async def test_an_undo_is_remembered(root: Path, redone: bool) -> None:
    session, _ = await open_scripted(root, [FIX, Reply(text="It adds.")])
    await take(session, "Make add right")
    await session.undo()
    assert remembered(root).outcome == "undone"
    if redone:
        await session.undo(redo=True)
    await session.aclose()
    outcome = "done" if redone else "undone"
    assert remembered(root).outcome == outcome
    assert f"{outcome}: Make add right" in await told(root, "Make add right in calc.py")


async def test_a_copy_does_not_remember_what_its_origin_did(root: Path) -> None:
    await work(root, "Make add right", [FIX, Reply(text="It adds.")])
    (origin,) = MemoryStore(root).memories()
    await work(root, "Say hello", [Reply(text="Hello.")], fork=origin.session)
    copy = next(m for m in MemoryStore(root).memories() if m.session != origin.session)
    assert (copy.title, copy.files) == ("Say hello", [])


# --- short ------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_memory_of_much_work_says_what_was_wanted_done_and_holds(root: Path) -> None:
    for number in range(12):
        (root / f"part{number}.py").write_text("x = 1\n")
    edits = [
        call("edit", path=f"part{number}.py", old="x = 1", new=f"x = {number} + 1")
        for number in range(12)
    ]
    runs = [call("shell", command=f"echo step number {number} is done") for number in range(12)]
    end = Reply(text="All parts count up now, since part0 is the base of the others. " * 12)
    task = "Count up in each part. " + "Never touch the tests, keep it simple and small. " * 12
    await work(root, task, [*edits, *runs, end])
    body = remembered(root).body
    assert len(body.split()) <= MOST_WORDS < 120
    assert body.startswith("# Count up in each part.")
    assert "All parts count up now, since part0 is the base" in body
    assert "Never touch the tests" in body
    assert "part11.py" in body or "part11.py" in remembered(root).files


async def test_a_memory_of_many_turns_is_as_short(root: Path) -> None:
    script = [Reply(text=f"Answer {n} is {n * n}, because squares grow. " * 4) for n in range(9)]
    session, _ = await open_scripted(root, script)
    for number in range(9):
        await take(session, f"What is the square of {number}? Always say why, and keep it short.")
    await session.aclose()
    memory = remembered(root)
    assert memory.level == "session"
    assert len(memory.body.split()) <= MOST_WORDS
    assert "Answer 8 is 64" in memory.body


# --- a person's ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"It adds\.", "Adding needs the decimal module."),
        (r"(?m)^# Make add right$", "# Make add right with the decimal module."),
        (r"(?s)# Make add right.*", "The decimal module is what add needs in calc.py."),
        (r"\Z", "\nUse the decimal module.\n"),
    ],
    ids=["prose", "title", "all", "end"],
)
async def test_what_a_person_writes_into_a_memory_is_told(root: Path, old: str, new: str) -> None:
    session, _ = await open_scripted(root, [FIX, Reply(text="It adds."), Reply(text="It does.")])
    await take(session, "Make add right")
    await take(session, "Does add in calc.py add?")  # so the session has a memory as a whole
    await session.aclose()
    path = MemoryStore(root).path_of(f"{session.trajectory.id}-1", "segment")
    text, count = re.subn(old, new, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)
    assert "decimal module" in await told(root, "Extend add in calc.py")


# --- useful -------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A task that finds a fact, and one that needs it."""

    first: str
    script: Script
    second: str
    fact: str


def answered(text: str) -> Script:
    return [call("read", path="calc.py"), Reply(text=text)]


def decided(text: str) -> Script:
    reply = calls(("edit", {"path": "calc.py", "old": "a - b", "new": "a + b"}))
    return [reply.model_copy(update={"text": text}), Reply(text="Done.")]


PAIRS = [
    Pair("Add a guard to calc.py",
         decided("The guard is in calc.py only, since module4 is generated."),
         "Extend calc.py", "module4 is generated"),
    Pair("Why is the nightly build slow?", answered("The nightly build waits for the mirror."),
         "Speed up the nightly build", "waits for the mirror"),
    Pair("Find where rates are rounded", answered("Rates are rounded in tax_table, half up."),
         "Change how rates are rounded", "tax_table, half up"),
    Pair("Deploy to staging. Never deploy on Fridays.", answered("Deployed to staging."),
         "Deploy to staging again", "Never deploy on Fridays"),
    Pair("Run the parser tests", [call("shell", command="sh -c 'echo no lexer; exit 2'"),
                                  Reply(text="They cannot run.")],
         "Make the parser tests run", "no lexer"),
    Pair("Make add right in calc.py", [FIX, call("shell", command=CHECK), Reply(text="Right.")],
         "Make sub in calc.py like add", CHECK),
    Pair("Choose a cache for calc.py", decided("We chose sqlite instead of redis for the cache."),
         "Write the cache of calc.py", "sqlite instead of redis"),
    Pair("Migrate users to the new schema",
         [call("plan", steps=["[x] copy users", "[>] copy the avatars"]),
          call("shell", command="exit 1"), call("fail", x=1), *[Reply(text="Half done.")] * 5],
         "Finish to migrate users to the schema", "copy the avatars"),
    Pair("Which port has the gizmo server?", answered("The gizmo server listens on 4711."),
         "Restart the gizmo server on its port", "4711"),
    Pair("Rename total in calc.py",
         decided("Kept the old name as an alias because cli.py uses it."),
         "Remove old names from calc.py", "because cli.py uses it"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.fact[:24])
async def test_the_second_task_of_a_pair_is_told_the_fact_that_it_needs(
    root: Path, pair: Pair
) -> None:
    """Ten of ten pairs with memory, none without."""
    await work(root, pair.first, pair.script)
    assert pair.fact in await told(root, pair.second)
    without = {"memory": {"enabled": False}}
    assert pair.fact not in await told(root, pair.second, flags=without)
    for memory in MemoryStore(root).memories():
        assert len(memory.body.split()) <= MOST_WORDS
