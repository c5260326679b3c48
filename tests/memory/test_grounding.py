"""What a model says in a summary stands only where the record agrees."""

from __future__ import annotations

import pytest

from laguna_agent.events import Event, TurnFinished, UserMessage
from laguna_agent.memory.extract import Extract, extract
from laguna_agent.memory.grounding import drop_claim, facts, ground, merged_files, own_words
from laguna_agent.memory.summary_format import Claim, Summary, parse_summary
from laguna_agent.trajectory.codec import StoredEvent
from support.sessions import call, reply, result


def found(*events: Event, start: int = 1) -> Extract:
    return extract(
        StoredEvent(n, "2026-01-01T00:00:00.000Z", e) for n, e in enumerate(events, start)
    )


def wrote(number: str, path: str) -> list[Event]:
    return [
        reply(call(number, "write", path=path), prompt=[1], ids=[2]),
        result(number, "written", name="write", files_changed=[path], diff="+a\n+b\n-c"),
    ]


def ran(number: str, command: str, code: int) -> list[Event]:
    return [
        reply(call(number, command=command), prompt=[1], ids=[2]),
        result(number, "boom" if code else "fine", exit_code=code, title=command, ok=not code),
    ]


WORK = found(
    UserMessage(text="Port the parser to v2. Never touch tests/golden.txt."),
    *wrote("a", "src/parser.py"),
    reply(call("r", "read", path="src/lexer.py"), prompt=[1], ids=[2]),
    result("r", "text", name="read"),
    *ran("b", "make lint", 1),
    *ran("c", "make test", 0),
)


def texts(summary: Summary, name: str) -> list[str]:
    return [claim.text for claim in summary.claims(name)]


def test_files_come_from_the_record_whatever_the_model_says() -> None:
    said = parse_summary(
        "Files:\n- src/parser.py was changed\n- src/lexer.py was updated to v2\n"
        "- src/other.py was fixed\n- src/parser.py now reads nested lists with one token ahead"
    )
    assert texts(ground(said, WORK), "Files") == [
        "src/parser.py: changed (+2 -1)",
        "src/lexer.py: read",
        "src/parser.py now reads nested lists with one token ahead",
    ]


def test_commands_come_from_the_record_with_what_the_model_knows_of_them() -> None:
    said = parse_summary(
        "Commands:\n- `read src/parser.py`\n- `npm test` passes\n"
        "- make test runs every test and takes a minute"
    )
    summary = ground(said, WORK)
    assert texts(summary, "Commands") == [
        "`make test` (exit 0)",
        "make test runs every test and takes a minute",
    ]
    assert texts(summary, "Failed") == ["`make lint` (exit 1): boom"]


@pytest.mark.parametrize("nothing", ["None.", "No failed steps.", "nothing", "n/a", "No errors"])
def test_none_is_no_claim(nothing: str) -> None:
    summary = ground(parse_summary(f"Failed:\n- {nothing}\n- a regular expression: too slow"), WORK)
    assert texts(summary, "Failed") == [
        "`make lint` (exit 1): boom",
        "a regular expression: too slow",
    ]


def test_constraints_are_the_users_and_not_invented() -> None:
    said = parse_summary("Constraints:\n- Use tabs in every Makefile\n- the parser is ported to v2")
    assert texts(ground(said, WORK), "Constraints") == [
        "Never touch tests/golden.txt.",
        "the parser is ported to v2",
    ]


def test_claims_of_earlier_summaries_are_carried_over() -> None:
    first = ground(parse_summary("Goal:\n- port it\nDecisions:\n- keep one token ahead"), WORK)
    later = found(
        UserMessage(text="Go on."),
        *wrote("d", "src/parser.py"),
        *wrote("e", "src/tree.py"),
        *ran("f", "make lint", 0),
        start=20,
    )
    summary = ground(
        parse_summary("Decisions:\n- trees are frozen\nOpen:\n- port eval"), later, first
    )
    assert texts(summary, "Goal") == ["port it"]
    assert texts(summary, "Constraints") == ["Never touch tests/golden.txt."]
    assert texts(summary, "Decisions") == ["keep one token ahead", "trees are frozen"]
    assert texts(summary, "Files") == [
        "src/parser.py: changed (+4 -2)",
        "src/tree.py: changed (+2 -1)",
        "src/lexer.py: read",
    ]
    # It failed before and works now.
    assert texts(summary, "Commands") == ["`make test` (exit 0)", "`make lint` (exit 0)"]
    assert texts(summary, "Failed") == []
    assert texts(summary, "Open") == ["port eval"]


def test_many_changed_files_share_a_line_with_their_events() -> None:
    claims = [Claim(f"f{n}.py: changed (+1 -0)", ((n, n),)) for n in range(1, 31)]
    grouped = merged_files(claims)
    assert grouped[0].text.startswith("changed before: f1.py, f2.py, ")
    assert grouped[0].events == ((1, 24),)
    assert [claim.text for claim in grouped[1:]] == [
        f"f{n}.py: changed (+1 -0)" for n in range(25, 31)
    ]
    again = merged_files([*grouped, Claim("f1.py: changed (+2 -2)", ((40, 40),))])
    assert again[-1].text == "f1.py: changed (+2 -2)"
    assert "f1.py," not in again[0].text
    assert "f25.py" in again[0].text


def test_every_changed_file_of_a_long_epoch_is_named() -> None:
    many = found(*(event for n in range(40) for event in wrote(str(n), f"docs/page{n}.md")))
    shown = " ".join(texts(ground(Summary(), many), "Files"))
    assert [n for n in range(40) if f"docs/page{n}.md" not in shown] == []


def test_the_last_step_is_not_carried_over_from_an_earlier_summary() -> None:
    first = ground(Summary(), WORK)
    assert texts(first, "Open") == ["go on after the last step: make test: fine"]
    later = found(*wrote("z", "src/new.py"), start=30)
    assert texts(ground(first, later, first), "Open") == [
        "go on after the last step: write: written"
    ]


def test_the_facts_for_the_model_are_short() -> None:
    assert facts(WORK) == (
        "Changed files: src/parser.py\nCommands that ended well: `make test` (exit 0)\n"
        "What failed: `make lint` (exit 1): boom"
    )
    many = found(*(event for n in range(300) for event in wrote(str(n), f"src/file{n}.py")))
    assert len(facts(many)) < 800


def test_own_words_are_the_claims_without_facts() -> None:
    summary = ground(parse_summary("Decisions:\n- x because y\nFailed:\n- a loop: slow"), WORK)
    mine = own_words(summary)
    assert texts(mine, "Decisions") == ["x because y"]
    assert texts(mine, "Failed") == ["a loop: slow"]
    assert texts(mine, "Files") == texts(mine, "Commands") == []


def test_dropping_claims_ends_and_keeps_the_next_steps() -> None:
    summary = ground(
        parse_summary(
            "Goal:\n- port the parser\nDecisions:\n"
            + "".join(f"- decision number {n} about {'abcdefgh'[n]}thing\n" for n in range(8))
            + "Open:\n- first\n- second"
        ),
        WORK,
    )
    while drop_claim(summary):
        pass
    assert texts(summary, "Goal") == ["port the parser"]
    assert texts(summary, "Open") == ["first", "second"]
    assert texts(summary, "Decisions") == []
    assert texts(summary, "Files")


def test_claims_that_repeat_the_task_or_deny_open_steps_are_left_out() -> None:
    said = parse_summary(
        "Goal:\n- port the parser\n- write everything in one line\n"
        "Decisions:\n- Port the parser to v2.\n- tokens are tuples because lists are slow\n"
        "Failed:\n- No parser to port to v2\n"
        "Open:\n- No more steps are needed.\n- All of it is done.\n- Next steps: none"
    )
    summary = ground(said, WORK)
    assert texts(summary, "Goal") == ["port the parser"]
    assert texts(summary, "Decisions") == ["tokens are tuples because lists are slow"]
    assert texts(summary, "Failed") == ["`make lint` (exit 1): boom"]
    assert texts(summary, "Open") == ["go on after the last step: make test: fine"]
    assert summary.claims("Open")[0].events == ((9, 9),)


def test_dropping_claims_keeps_every_changed_file() -> None:
    many = found(*(event for n in range(12) for event in wrote(str(n), f"src/f{n}.py")))
    summary = ground(Summary(), many)
    while drop_claim(summary):
        pass
    shown = " ".join(texts(summary, "Files"))
    assert [n for n in range(12) if f"src/f{n}.py" not in shown] == []


def test_a_fact_that_the_model_copies_is_not_repeated() -> None:
    said = parse_summary("Commands:\n- `make test` (exit 0) [e8] [e8] [e8] [e8] [e8] [e8")
    assert texts(ground(said, WORK), "Commands") == ["`make test` (exit 0)"]


def test_a_turns_end_is_open_until_it_is_done() -> None:
    stopped = found(UserMessage(text="go"), TurnFinished(status="limit", error="8 steps"))
    assert texts(ground(Summary(), stopped), "Open") == ["the last turn ended as limit: 8 steps"]
