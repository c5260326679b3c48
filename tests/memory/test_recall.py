"""Recall: what was said or seen once is found again, with the event it stands in."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from laguna_agent.agent.session_memory import may_hold_secrets
from laguna_agent.events import (
    Compacted,
    Event,
    SystemNote,
    ToolFinished,
    TurnFinished,
    UserMessage,
)
from laguna_agent.memory.memory_store import MemoryStore
from laguna_agent.memory.recall import Recall
from laguna_agent.memory.summaries import remember
from laguna_agent.memory.words import names_in, split_name, words_in
from laguna_agent.paths import repository_state_dir
from laguna_agent.trajectory.replay import COMPACTION
from laguna_agent.trajectory.store import Trajectory
from support import sessions as samples
from support.sessions import call, reply, result


def words(text: str) -> int:
    return len(text.split())


def session(root: Path, session_id: str, *events: Event) -> Trajectory:
    trajectory = Trajectory.create(root, session_id=session_id)
    for event in events:
        trajectory.append(event)
    return trajectory


# --- words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("in src/net/http_client.py the HTTPClient", ["src/net/http_client.py", "HTTPClient"]),
        ("call parseHeader() of json.decoder", ["parseHeader", "json.decoder"]),
        ("MAX_SIZE is set in Makefile.am", ["MAX_SIZE", "Makefile.am"]),
        ("an ordinary sentence. Another one", []),
    ],
)
def test_paths_and_symbols_are_names(text: str, names: list[str]) -> None:
    assert list(names_in(text)) == names


def test_a_name_matches_by_its_parts() -> None:
    assert split_name("HTTPClient.get_all") == ["http", "client", "get", "all"]
    assert "client" in set(words_in("HTTPClient"))


# --- events ---------------------------------------------------------------------------------

CODES = "amber birch cedar delta ember fjord grove heron ivory jade".split()  # noqa: SIM905 - shorter
THINGS = ["port", "timeout", "bucket", "branch", "replica"]


def facts(dice: random.Random) -> list[tuple[str, str]]:
    """Forty facts, each with a question that does not hold its answer."""
    made = []
    for number in range(40):
        place = f"{CODES[number % 10]} {THINGS[number // 10]}"
        answer = f"v{dice.randrange(10**6):06d}"
        made.append(
            (f"What is the value of the {place}?", f"Note: the {place} has the value {answer}.")
        )
    return made


@pytest.mark.slow
def test_forty_planted_facts_are_all_found_with_their_events(root: Path) -> None:
    dice = random.Random(11)
    planted = facts(dice)
    steps = dice.sample(range(500), 40)
    noise = "value note port timeout bucket branch replica read write file function test".split()  # noqa: SIM905 - shorter
    where: dict[str, int] = {}
    with Trajectory.create(root) as trajectory:
        trajectory.append(UserMessage(text="a long task"))
        for step in range(500):
            chatter = " ".join(dice.choices(noise, k=60))
            fact = planted[steps.index(step)][1] if step in steps else ""
            kind = step % 3 if fact else 2
            trajectory.append(
                reply(
                    call(str(step), "read", path=f"src/m{step}.py"),
                    text=f"{chatter} {fact if kind == 0 else ''}",
                    prompt=[1],
                    ids=[2],
                )
            )
            if fact and kind == 0:
                where[fact] = trajectory.last_seq
            seq = trajectory.append(
                result(str(step), f"{chatter}\n{fact if kind == 2 else ''}\n{chatter}")
            )
            if fact and kind == 2:
                where[fact] = seq
            if fact and kind == 1:
                where[fact] = trajectory.append(UserMessage(text=fact))
        recall = Recall(root, session=trajectory.id)
        found = 0
        for question, fact in planted:
            hit = recall.events(question, limit=1)[0]
            found += (hit.session, hit.seq) == (trajectory.id, where[fact])
            assert fact.split()[-1] in recall.answer(question)
            assert fact in recall.answer(f"e{where[fact]}")
        recall.close()
    assert found == 40


def test_names_weigh_more_than_words(root: Path) -> None:
    with session(
        root,
        "one",
        UserMessage(text="retry policy retry policy of the loader, the loader retries"),
        UserMessage(text="see src/retry_policy.py"),
    ):
        recall = Recall(root)
        assert recall.events("what is in src/retry_policy.py", limit=1)[0].seq == 2
        recall.close()


def test_new_events_of_an_open_session_are_indexed(root: Path) -> None:
    with session(root, "one", UserMessage(text="about gizmos")) as trajectory:
        recall = Recall(root)
        assert [hit.seq for hit in recall.events("gizmos")] == [1]
        trajectory.append(UserMessage(text="about widgets"))
        assert [hit.seq for hit in recall.events("widgets")] == [2]
    with Trajectory.open(trajectory.path) as again:
        again.append(UserMessage(text="about sprockets"))
        assert [hit.seq for hit in recall.events("sprockets")] == [3]
    recall.close()


def test_a_reopened_session_is_indexed_further(root: Path) -> None:
    with session(root, "one", UserMessage(text="about gizmos")) as trajectory:
        pass
    recall = Recall(root)
    assert len(recall.events("gizmos")) == 1
    assert len(recall.events("gizmos")) == 1
    with Trajectory.open(trajectory.path) as again:
        again.append(UserMessage(text="about sprockets"))
    assert len(recall.events("sprockets")) == 1
    recall.close()


def test_deleted_sessions_are_not_found(root: Path) -> None:
    from laguna_agent.interfaces.commands.sessions import main

    with session(root, "one", UserMessage(text="about gizmos")):
        pass
    recall = Recall(root)
    assert recall.events("gizmos")
    assert main(["delete", "-C", str(root), "one", "--yes"]) == 0
    assert recall.events("gizmos") == []
    recall.close()


def test_recall_does_not_find_its_own_queries(root: Path) -> None:
    with session(
        root,
        "one",
        UserMessage(text="the gizmo is red"),
        reply(call("r", "recall", query="gizmo colour"), prompt=[1], ids=[2]),
        result("r", "the gizmo is red", name="recall"),
        SystemNote(text="summarise gizmo", reason=COMPACTION),
        reply(text="Goal:\n- gizmo", prompt=[1], ids=[2]),
        Compacted(
            summary="gizmo",
            first_seq=1,
            last_seq=3,
            kept_from_seq=4,
            tokens_before=1,
            tokens_after=1,
        ),
        reply(text="back to the gizmo", prompt=[1], ids=[2]),
    ):
        recall = Recall(root)
        assert sorted(hit.seq for hit in recall.events("gizmo", limit=20)) == [1, 7]
        recall.close()


def test_a_huge_result_is_searched_too(root: Path) -> None:
    with session(root, "one", result("a", "filler " * 9_000 + "needle in it")) as trajectory:
        assert list(trajectory.blobs.iterdir())
        recall = Recall(root)
        (hit,) = recall.events("needle")
        assert "needle" in hit.snippet
        recall.close()


@pytest.mark.parametrize(
    "query", ['"', "AND OR NOT", "a*", "(", "NEAR(", "", "  ", "the of", "-x:y^"]
)
def test_no_query_is_an_error(root: Path, query: str) -> None:
    with session(root, "one", UserMessage(text="the words AND OR (more)")):
        recall = Recall(root)
        recall.answer(query)
        recall.close()


@pytest.mark.parametrize("damage", [b"", b"junk" * 5_000])
def test_a_damaged_index_is_rebuilt(root: Path, damage: bytes) -> None:
    with session(root, "one", UserMessage(text="about gizmos")):
        recall = Recall(root)
        assert recall.events("gizmos")
        recall.close()
        path = repository_state_dir(root) / "memory" / "recall.sqlite"
        for side in path.parent.glob("recall.sqlite*"):
            side.unlink()
        path.write_bytes(damage)
        assert recall.events("gizmos")
        recall.close()


# --- pointers -------------------------------------------------------------------------------


def test_a_pointer_opens_the_event_behind_a_claim(root: Path) -> None:
    with session(root, "261124-173708-x7qd", *samples.session()):
        recall = Recall(root, session="261124-173708-x7qd")
        for pointer in ("e11", "[e11]", "event 11", "261124-173708-x7qd e11", "x7qd:e11"):
            text = recall.answer(pointer)
            assert text.startswith("## 261124-173708-x7qd e11 tool_finished")
            assert "assert 3 == 4" in text
        both = recall.answer("e11-e15")
        assert "assert 3 == 4" in both
        assert "because it subtracts" in both
        recall.close()


def test_a_pointer_to_something_huge_is_bounded(root: Path) -> None:
    with session(root, "one", result("a", "x" * 500_000)):
        recall = Recall(root, session="one")
        assert len(recall.answer("e1")) < 20_000
        recall.close()


# --- memories -------------------------------------------------------------------------------

VERBS = ["crashes on", "ignores", "duplicates", "leaks", "reorders", "truncates", "misreads",
         "caches", "drops", "rejects"]  # fmt: skip
NOUNS = ["empty input", "unicode names", "nested lists", "file handles", "timestamps",
         "long lines", "negative numbers", "stale entries", "trailing commas", "dates"]  # fmt: skip


@pytest.mark.slow
async def test_a_follow_up_task_begins_with_the_right_memory(root: Path) -> None:
    dice = random.Random(5)
    store = MemoryStore(root)
    tasks = [
        (f"mod_{verb.split()[0]}_{number}", verb, noun)
        for verb in VERBS
        for number, noun in enumerate(NOUNS)
    ]
    dice.shuffle(tasks)
    sessions = {}
    for number, (module, verb, noun) in enumerate(tasks):
        name = f"s{number:03d}"
        sessions[module] = name
        path = f"src/{module}.py"
        with session(
            root,
            name,
            samples.started(name),
            UserMessage(
                text=f"The loader in {path} {verb} {noun}. Fix it; do not touch the tests."
            ),
            reply(
                call("a", "edit", path=path),
                text=f"The bug is in {module} because of {noun}.",
                prompt=[1],
                ids=[2],
            ),
            result("a", "edited", name="edit", files_changed=[path], diff="+a\n-b"),
            TurnFinished(status="done", summary=f"{module} fixed", files_changed=[path]),
        ) as trajectory:
            remember(store, trajectory)
    recall = Recall(root)
    right = 0
    for number, (module, verb, noun) in enumerate(tasks):
        follow_up = (
            f"Add a test for what we changed in src/{module}.py"
            if number % 2
            else f"Last time the loader {verb} {noun}; does it still do that?"
        )
        text = await recall.for_task(follow_up, budget=200, count=words)
        assert words(text) <= 200
        right += sessions[module] in text
    recall.close()
    assert right >= 95


async def test_no_memory_is_given_when_none_matches(root: Path) -> None:
    with session(root, "one", *samples.session()) as trajectory:
        remember(MemoryStore(root), trajectory)
    recall = Recall(root)
    assert await recall.for_task("Translate the poem", budget=400, count=words) == ""
    assert await recall.for_task("Fix calc.add", budget=0, count=words) == ""
    assert "[one]" in await recall.for_task("Fix calc.add again", budget=400, count=words)
    assert await recall.for_task("Fix calc.add again", budget=3, count=words) == ""
    recall.close()


async def test_edits_and_deletions_of_memories_take_effect_at_once(root: Path) -> None:
    with session(root, "one", *samples.session()) as trajectory:
        path = remember(MemoryStore(root), trajectory)
    assert path is not None
    recall = Recall(root)
    assert recall.memories("zebra crossing") == []
    path.write_text(path.read_text() + "\n## Decisions\n- the zebra crossing stays\n")
    (hit,) = recall.memories("zebra crossing")
    assert "Decisions: the zebra crossing stays" in hit.lines
    path.unlink()
    assert recall.memories("zebra crossing") == []
    recall.close()


@pytest.mark.parametrize(
    "event",
    [
        ToolFinished(call_id="1", name="read", title="Read conf/.env", ok=True, content="zebra 1"),
        ToolFinished(
            call_id="1", name="shell", title="$ cat <.env|head", ok=True, content="zebra 1"
        ),
        ToolFinished(
            call_id="1", name="git", title="git show HEAD:.env", ok=True, content="zebra 1"
        ),
        reply(call("c", "write", path="deploy.pem", content="zebra 1"), prompt=[1], ids=[2]),
    ],
)
def test_what_another_session_saw_of_a_secret_file_is_withheld(root: Path, event: Event) -> None:
    session(root, "20260101-aaaa", UserMessage(text="look at the zebra settings"), event)
    session(root, "20260102-bbbb", UserMessage(text="zebra"))
    recall = Recall(root, session="20260102-bbbb", withholds=may_hold_secrets)
    own = Recall(root, session="20260101-aaaa", withholds=may_hold_secrets)
    try:
        for query in ("zebra 1", "20260101-aaaa e2"):
            assert "zebra 1" not in recall.answer(query)
            assert "read the file itself" in recall.answer(query)
            assert "zebra 1" in own.answer(query)
        assert "look at the zebra settings" in recall.answer("20260101-aaaa e1")
    finally:
        recall.close()
        own.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", ["x", "X", "a-", "a.", "a/", "aA1_", "~.", "_", "-"])
def test_names_are_found_in_long_lines_without_spaces(part: str) -> None:
    # Base64, minified code: a search that looks again at each letter takes minutes here.
    text = part * (100_000 // len(part)) + " src/client.py"
    assert list(names_in(text))[-1] == "src/client.py"
