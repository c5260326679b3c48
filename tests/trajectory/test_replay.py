"""What a record adds up to: the prompt, token by token, and what was left open."""

from __future__ import annotations

from pathlib import Path

from laguna_agent.events import (
    Compacted,
    Event,
    Notice,
    PlanStep,
    PlanUpdated,
    Reply,
    Rewound,
    SystemNote,
    TurnFinished,
    TurnStarted,
    Usage,
    UserMessage,
)
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.replay import (
    COMPACTION,
    INTERRUPTED,
    StoredEvents,
    active_events,
    conversation_state,
)
from laguna_agent.trajectory.store import Trajectory
from support import sessions as samples
from support.sessions import call, reply, result


def stored(*events: Event) -> list[StoredEvent]:
    return [StoredEvent(n, "2026-01-01T00:00:00.000Z", e) for n, e in enumerate(events, 1)]


def test_the_events_of_a_session_add_up_to_its_prompt() -> None:
    state = conversation_state(stored(*samples.session()))
    assert state.token_ids == [10, 11, 12, 20, 21, 13, 14, 22, 23, 24, 15, 25]
    assert state.pending == []
    assert state.missing_results == []
    assert state.files_changed == ["calc.py"]
    assert [step.status for step in state.plan] == ["done", "active"]
    assert (state.turns, state.turn_open) == (1, False)
    assert state.system is not None
    assert state.system.token_ids == [1, 2, 3]


def test_the_state_from_disk_is_the_same(trajectory: Trajectory) -> None:
    for event in samples.session():
        trajectory.append(event)
    state = conversation_state(trajectory)
    assert state.token_ids == conversation_state(stored(*samples.session())).token_ids
    assert state.last_seq == trajectory.last_seq


def test_the_tokens_of_the_prompt_are_those_after_the_last_reply() -> None:
    system = samples.system()
    assert conversation_state(stored()).tokens == 0
    assert conversation_state(stored(system)).tokens == system.tokens
    said = Reply(text="a", usage=Usage(prompt_tokens=120, completion_tokens=7))
    assert conversation_state(stored(system, UserMessage(text="go"), said)).tokens == 127


def test_messages_after_the_last_reply_are_pending() -> None:
    events = stored(
        samples.system(),
        UserMessage(text="go"),
        reply(call("a"), call("b"), prompt=[4], ids=[5]),
        result("a"),
        SystemNote(text="hint", reason="reminder"),
    )
    state = conversation_state(events)
    assert [item.seq for item in state.pending] == [4, 5]
    assert [(item.call_id, item.ok, item.content) for item in state.missing_results] == [
        ("b", False, INTERRUPTED)
    ]
    assert state.token_ids == [4, 5]


def test_calls_without_a_result_get_one_once() -> None:
    events = [samples.system(), UserMessage(text="go"), reply(call("a"), prompt=[4], ids=[5])]
    state = conversation_state(stored(*events))
    closed = [*events, *state.missing_results]
    again = conversation_state(stored(*closed))
    assert again.missing_results == []
    assert [item.event for item in again.pending] == state.missing_results


def test_discarded_replies_are_not_in_the_prompt() -> None:
    bad = reply(call("x"), prompt=[9], ids=[9])
    bad.discarded = True
    state = conversation_state(
        stored(samples.system(), UserMessage(text="go"), bad, reply(prompt=[4], ids=[5]))
    )
    assert state.token_ids == [4, 5]
    assert state.open_calls == {}


def test_without_token_ids_everything_is_pending() -> None:
    events = stored(
        samples.system(), UserMessage(text="go"), Reply(text="hi"), UserMessage(text="and?")
    )
    state = conversation_state(events)
    assert state.token_ids is None
    assert [item.seq for item in state.pending] == [2, 3, 4]


def compaction(first: int, last: int, kept: int, ids: list[int] | None = None) -> list[Event]:
    return [
        SystemNote(text="summarise", reason=COMPACTION),
        reply(text="Goal:\n- x", prompt=[70], ids=[71]),
        Compacted(
            summary="Goal:\n- x",
            first_seq=first,
            last_seq=last,
            kept_from_seq=kept,
            tokens_before=100,
            tokens_after=10,
            opening="the opening",
            token_ids=ids,
        ),
    ]


def test_an_epoch_begins_with_its_opening_and_the_kept_steps() -> None:
    events = stored(
        samples.system(),
        UserMessage(text="go"),
        reply(call("a"), prompt=[4], ids=[5]),
        result("a"),
        reply(call("b"), prompt=[6], ids=[7]),
        result("b"),
        *compaction(1, 6, 5, ids=[60, 61, 7]),
    )
    state = conversation_state(events)
    assert state.epoch == 1
    assert state.token_ids == [60, 61, 7]
    assert [item.seq for item in state.history] == [9, 5, 6]
    assert [item.seq for item in state.pending] == [6]
    assert [item.seq for item in state.user_messages] == [2]
    later = conversation_state(
        [*events, StoredEvent(10, "t", reply(text="on", prompt=[30, 31], ids=[32]))]
    )
    assert later.token_ids == [60, 61, 7, 30, 31, 32]
    assert state.tokens == 10, "the kept reply was counted in the epoch before"
    assert later.pending == []


def test_an_epoch_without_ids_is_rendered_again() -> None:
    steps = [reply(call("b"), prompt=[6], ids=[7]), result("b")]
    events = [samples.system(), UserMessage(text="go"), *steps]
    kept = conversation_state(stored(*events, *compaction(1, 4, 3)))
    assert kept.token_ids is None
    assert [item.seq for item in kept.pending] == [7, 3, 4]
    nothing_kept = conversation_state(stored(*events, *compaction(1, 4, 5)))
    assert nothing_kept.token_ids == []
    assert [item.seq for item in nothing_kept.pending] == [7]


def test_a_second_compaction_replaces_the_first() -> None:
    events = stored(
        samples.system(),
        UserMessage(text="go"),
        reply(call("a"), prompt=[4], ids=[5]),
        result("a"),
        *compaction(1, 4, 3),  # 5, 6, 7
        reply(call("b"), prompt=[6], ids=[7]),  # 8
        result("b"),  # 9
        *compaction(7, 9, 3),  # 10, 11, 12
    )
    state = conversation_state(events)
    assert state.epoch == 2
    assert [item.seq for item in state.history] == [12, 3, 4, 8, 9]


def test_a_summary_without_its_epoch_leaves_the_old_prompt() -> None:
    events = stored(
        samples.system(),
        UserMessage(text="go"),
        reply(text="hm", prompt=[4], ids=[5]),
        *compaction(1, 3, 4)[:2],
    )
    state = conversation_state(events)
    assert state.token_ids == [4, 5, 70, 71]
    assert state.pending == []
    assert [item.seq for item in state.history] == [2, 3]
    unanswered = conversation_state(events[:-1])
    assert unanswered.token_ids == [4, 5]
    assert unanswered.pending == []


def test_a_rewind_leaves_later_events_out() -> None:
    events = stored(
        samples.system(),
        UserMessage(text="one"),
        reply(text="1", prompt=[4], ids=[5]),
        UserMessage(text="two"),
        PlanUpdated(steps=[PlanStep(text="p")]),
        reply(call("a"), prompt=[6], ids=[7]),
        Rewound(to_seq=3),
        UserMessage(text="other"),
        reply(text="o", prompt=[8], ids=[9]),
    )
    state = conversation_state(events)
    assert state.token_ids == [4, 5, 8, 9]
    assert [item.seq for item in state.user_messages] == [2, 8]
    assert state.plan == []
    assert state.missing_results == []
    active = [item.seq for item in active_events(StoredEvents(events))]
    assert active == [1, 2, 3, 8, 9]


def test_a_rewind_can_be_undone_by_another() -> None:
    events = stored(
        samples.system(),
        UserMessage(text="one"),
        reply(text="1", prompt=[4], ids=[5]),
        Rewound(to_seq=1),
        UserMessage(text="two"),
        Rewound(to_seq=3),
        Notice(text="back"),
    )
    assert conversation_state(events).token_ids == [4, 5]
    assert [item.seq for item in active_events(StoredEvents(events))] == [1, 2, 3, 7]


def test_a_rewind_across_a_compaction_restores_the_old_epoch() -> None:
    events = stored(
        samples.system(),
        UserMessage(text="go"),
        reply(text="hm", prompt=[4], ids=[5]),
        *compaction(1, 3, 4),
        reply(text="later", prompt=[30], ids=[31]),
        Rewound(to_seq=3),
    )
    state = conversation_state(events)
    assert (state.epoch, state.token_ids) == (0, [4, 5])


def test_the_state_at_an_earlier_event() -> None:
    events = stored(*samples.session())
    state = conversation_state(events, at=9)
    assert state.token_ids == [10, 11, 12, 20, 21]
    assert [item.call_id for item in state.missing_results] == ["a"]
    assert state.last_seq == 9


def test_applying_events_one_by_one_equals_reading_the_record(root: Path) -> None:
    with Trajectory.create(root) as trajectory:
        live = conversation_state(trajectory)
        events: list[Event] = [
            *samples.session(),
            TurnStarted(turn=2),
            UserMessage(text="more"),
            reply(call("c"), prompt=[40], ids=[41]),
            result("c"),
            *compaction(1, 23, 22),
            reply(call("d"), prompt=[42], ids=[43]),
            TurnFinished(status="limit"),
        ]
        for event in events:
            seq = trajectory.append(event)
            live.apply(StoredEvent(seq, "2026-01-01T00:00:00.000Z", event))
            read = conversation_state(trajectory)
            assert live.token_ids == read.token_ids
            assert [i.seq for i in live.history] == [i.seq for i in read.history]
            assert [i.seq for i in live.pending] == [i.seq for i in read.pending]
            assert (live.plan, live.epoch, live.turn_open) == (
                read.plan,
                read.epoch,
                read.turn_open,
            )
            assert live.missing_results == read.missing_results
