"""The record of a session: what goes in comes out, whatever happens to the file."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.events import Notice, Reply, TextDelta, ToolFinished, UserMessage
from laguna_agent.trajectory import codec, store
from laguna_agent.trajectory.store import Trajectory, new_session_id
from support import sessions as samples


def fill(trajectory: Trajectory) -> None:
    for event in samples.session():
        trajectory.append(event)


def test_events_come_back_as_they_were_stored(trajectory: Trajectory) -> None:
    fill(trajectory)
    stored = list(trajectory.events())
    assert [item.event for item in stored] == samples.session()
    assert [item.seq for item in stored] == list(range(1, len(stored) + 1))
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", item.ts) for item in stored)


def test_a_number_is_the_number_of_the_line(trajectory: Trajectory) -> None:
    fill(trajectory)
    lines = trajectory.path.read_bytes().split(b"\n")
    assert json.loads(lines[3])["seq"] == 4
    assert json.loads(lines[3])["v"] == codec.SCHEMA_VERSION


def test_reading_can_begin_anywhere(trajectory: Trajectory) -> None:
    for number in range(3_000):
        trajectory.append(Notice(text=f"{number} " + "x" * 500))
    assert trajectory.path.stat().st_size > 1_048_576
    for start in (1, 2, 1_500, 2_999, 3_000, 3_001):
        assert [item.seq for item in trajectory.events(start)] == list(range(start, 3_001))


def test_transient_events_are_refused(trajectory: Trajectory) -> None:
    with pytest.raises(ValueError, match="not stored"):
        trajectory.append(TextDelta(text="x"))
    assert trajectory.path.read_bytes() == b""


TEXTS = st.text(st.characters(exclude_categories=()), max_size=60)


@given(text=TEXTS, content=TEXTS)
@settings(max_examples=150, deadline=None)
def test_any_text_survives_and_stays_on_its_line(
    tmp_path_factory: pytest.TempPathFactory, text: str, content: str
) -> None:
    blobs = tmp_path_factory.getbasetemp() / "blobs"
    for event in (
        UserMessage(text=text),
        ToolFinished(call_id="a", name="read", ok=True, content=content),
    ):
        line = codec.encode(1, "2026-01-01T00:00:00.000Z", event, blobs)
        assert len(line.decode("utf-8").splitlines()) == 1
        back = codec.decode(line, blobs)[0].event
        # Two halves of a pair that stand side by side are the character they make.
        joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        if isinstance(event, UserMessage):
            assert isinstance(back, UserMessage)
            assert back.text in (text, joined)


@pytest.mark.parametrize(
    "text", ["a\u2028b\u2029c\x85d", "a\nb\r\nc\x0b\x0c", "\ud800 alone", "\0"]
)
def test_line_separators_and_lone_surrogates(trajectory: Trajectory, text: str) -> None:
    trajectory.append(UserMessage(text=text))
    trajectory.append(Notice(text="after"))
    first, second = trajectory.events()
    assert first.event == UserMessage(text=text)
    assert second.event == Notice(text="after")
    assert len(trajectory.path.read_text(encoding="utf-8").splitlines()) == 2


# --- huge results ---------------------------------------------------------------------------


def test_huge_fields_go_to_blobs_and_come_back(trajectory: Trajectory) -> None:
    big = "x" * 200_000 + "\ud800é"
    events = [
        ToolFinished(call_id="a", name="read", ok=True, content=big),
        Reply(text="t", token_ids=list(range(50_000)), prompt_token_ids=[1]),
        Reply(tool_calls=[samples.call("b", "write", content="y" * 100_000)]),
    ]
    for event in events:
        trajectory.append(event)
    assert trajectory.path.stat().st_size < 10_000
    assert [item.event for item in trajectory.events()] == events


def test_equal_huge_results_share_a_blob(trajectory: Trajectory) -> None:
    for call_id in ("a", "b"):
        trajectory.append(ToolFinished(call_id=call_id, name="read", ok=True, content="z" * 90_000))
    assert len(list(trajectory.blobs.iterdir())) == 1


def test_without_blobs_a_text_has_its_head(trajectory: Trajectory) -> None:
    trajectory.append(ToolFinished(call_id="a", name="read", ok=True, content="head " * 20_000))
    for blob in trajectory.blobs.iterdir():
        blob.unlink()
    (light,) = trajectory.events(whole=False)
    assert isinstance(light.event, ToolFinished)
    assert light.event.content == ("head " * 20_000)[: codec.BLOB_HEAD]
    assert not trajectory.problems


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_lost_blob_is_reported_and_the_rest_loads(trajectory: Trajectory, damage: str) -> None:
    trajectory.append(ToolFinished(call_id="a", name="read", ok=True, content="q" * 90_000))
    trajectory.append(Reply(text="kept", token_ids=list(range(50_000)), prompt_token_ids=[1]))
    for blob in trajectory.blobs.iterdir():
        blob.unlink() if damage == "missing" else blob.write_bytes(b"other")
    tool, reply = (item.event for item in trajectory.events())
    assert isinstance(tool, ToolFinished)
    assert tool.content.endswith("blob is missing or damaged]")
    assert isinstance(reply, Reply)
    assert (reply.text, reply.token_ids) == ("kept", None)
    assert len(trajectory.problems) == 2


@pytest.mark.slow
def test_a_single_line_of_80_mb_is_read(trajectory: Trajectory) -> None:
    trajectory.append(Notice(text="before"))
    line = codec._line(2, "2026-01-01T00:00:00.000Z", Notice(text="w" * 80_000_000).model_dump())
    trajectory.close()
    with trajectory.path.open("ab") as file:
        file.write(line)
    with Trajectory.open(trajectory.path) as again:
        assert again.append(Notice(text="after")) == 3
        assert [item.seq for item in again.events()] == [1, 2, 3]


# --- crashes --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_record_cut_at_any_byte_keeps_its_whole_events_and_continues(
    trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.os, "fsync", lambda handle: None)  # thousands would take minutes
    fill(trajectory)
    trajectory.close()
    data = trajectory.path.read_bytes()
    events = samples.session()
    ends = [match.end() for match in re.finditer(rb"\n", data)]
    for cut in range(len(data) + 1):
        trajectory.path.write_bytes(data[:cut])
        # An event whose line is whole but for its newline is whole.
        whole = sum(end - 1 <= cut for end in ends)
        with Trajectory.open(trajectory.path) as again:
            assert again.last_seq == whole, cut
            torn = cut not in (0, *ends) and cut + 1 not in ends
            assert bool(again.problems) == torn, cut
            if torn:
                assert "cut off" in again.problems[0]
            again.problems.clear()
            assert again.append(Notice(text="on")) == whole + 1
            got = [item.event for item in again.events()]
            assert got == [*events[:whole], Notice(text="on")], cut
            assert not again.problems
            assert again.meta.events == whole + 1


KILLED = """
import sys
from pathlib import Path
from laguna_agent.events import Notice
from laguna_agent.trajectory.store import Trajectory
trajectory = Trajectory.create(Path(sys.argv[1]), session_id="killed")
print("ready", flush=True)
while True:
    trajectory.append(Notice(text="x" * 3_000))
"""


def test_a_killed_process_leaves_whole_events_and_no_lock(root: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(root)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    path = store.sessions_dir(root) / "killed" / "events.jsonl"
    while path.stat().st_size < 300_000:
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    with Trajectory.open(path) as again:
        count = again.last_seq
        assert again.append(Notice(text="on")) == count + 1
        assert [item.seq for item in again.events()] == list(range(1, count + 2))
        assert again.meta.events == count + 1


@pytest.mark.parametrize(
    "bad", [b"not json\n", b"\0" * 700 + b"\n", b"{}\n", b'{"seq":1}\n', b"\xff\xfe\n", b"[]\n\n"]
)
def test_a_damaged_line_is_skipped_and_reported(trajectory: Trajectory, bad: bytes) -> None:
    fill(trajectory)
    trajectory.close()
    lines = trajectory.path.read_bytes().splitlines(keepends=True)
    trajectory.path.write_bytes(b"".join([*lines[:5], bad, *lines[6:]]))
    with Trajectory.open(trajectory.path) as again:
        events = samples.session()
        assert [item.event for item in again.events()] == [*events[:5], *events[6:]]
        assert len(again.problems) == 1
        assert again.append(Notice(text="on")) == len(events) + 1


def test_an_unknown_event_of_a_known_version_is_skipped(trajectory: Trajectory) -> None:
    trajectory.append(Notice(text="a"))
    trajectory.close()
    with trajectory.path.open("ab") as file:
        file.write(b'{"seq":2,"ts":"2026-01-01T00:00:00.000Z","v":1,"type":"dance"}\n')
    with Trajectory.open(trajectory.path) as again:
        assert len(list(again.events())) == 1
        assert "dance" in again.problems[0] or "not a known event" in again.problems[0]


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_newer_version_is_refused_and_left_untouched(trajectory: Trajectory, where: str) -> None:
    fill(trajectory)
    trajectory.close()
    lines = trajectory.path.read_bytes().splitlines(keepends=True)
    place = 0 if where == "first" else -1
    lines[place] = lines[place].replace(b'"v":1', b'"v":2')
    data = b"".join(lines)
    trajectory.path.write_bytes(data)
    for for_append in (True, False):
        with pytest.raises(UsageError, match="newer laguna"):
            Trajectory.open(trajectory.path, for_append=for_append)
    assert trajectory.path.read_bytes() == data


# --- disks ----------------------------------------------------------------------------------


def test_a_full_disk_leaves_no_half_event(
    trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    trajectory.append(Notice(text="kept"))
    real, calls = os.write, iter(range(100))

    def full(handle: int, data: bytes) -> int:
        if next(calls) == 0:
            return real(handle, data[:40])  # the disk takes a part, then no more
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "write", full)
    with pytest.raises(LagunaError, match="No space left") as raised:
        trajectory.append(Notice(text="lost " * 50))
    assert "Traceback" not in str(raised.value)
    assert raised.value.hint is not None
    monkeypatch.undo()
    assert trajectory.append(Notice(text="later")) == 2
    assert [item.event for item in trajectory.events()] == [
        Notice(text="kept"),
        Notice(text="later"),
    ]
    assert not trajectory.problems


def test_a_real_full_disk_is_a_clear_error(trajectory: Trajectory) -> None:
    trajectory.append(Notice(text="kept"))
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from laguna_agent.errors import LagunaError\n"
        "from laguna_agent.events import Notice\n"
        "from laguna_agent.trajectory.store import Trajectory\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))\n"
        "t = Trajectory.open(Path(sys.argv[1]))\n"
        "try:\n"
        "    while True: t.append(Notice(text='y' * 300))\n"
        "except LagunaError as error: print(error.message)\n"
    )
    trajectory.close()
    done = subprocess.run(
        [sys.executable, "-c", code, str(trajectory.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot record the session" in done.stdout
    data = trajectory.path.read_bytes()
    assert data.endswith(b"\n")
    assert len(data) <= 2_000
    with Trajectory.open(trajectory.path) as again:
        assert [item.seq for item in again.events()] == list(range(1, data.count(b"\n") + 1))
        assert not again.problems


def test_a_state_directory_that_cannot_be_made_is_a_clear_error(
    root: Path, laguna_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laguna_home.rmdir()
    laguna_home.write_text("a file where the directory should be")
    with pytest.raises(LagunaError, match="cannot record the session"):
        Trajectory.create(root)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(LagunaError, match="Read-only") as raised:
        Trajectory.create(root)
    assert "LAGUNA_HOME" in (raised.value.hint or "")


def test_a_failing_sync_is_an_error_and_a_failing_close_is_not(
    trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    trajectory.append(Notice(text="a"))

    def fail(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(store.os, "fsync", fail)
    with pytest.raises(LagunaError, match="Input/output"):
        trajectory.sync()
    trajectory.close()
    assert trajectory.problems


# --- two processes --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_writer_is_refused_with_the_hint_to_fork(trajectory: Trajectory) -> None:
    fill(trajectory)
    code = (
        "import sys; from pathlib import Path\n"
        "from laguna_agent.trajectory.store import Trajectory\n"
        "from laguna_agent.errors import UsageError\n"
        "try: Trajectory.open(Path(sys.argv[1]))\n"
        "except UsageError as error: print(error)\n"
    )
    argv = [sys.executable, "-c", code, str(trajectory.path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "in use by another laguna" in done.stdout
    assert "--fork" in done.stdout
    assert store.is_locked(trajectory.directory)
    trajectory.close()
    assert not store.is_locked(trajectory.directory)
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == ""


def test_a_reader_needs_no_lock(trajectory: Trajectory) -> None:
    fill(trajectory)
    reader = Trajectory.open(trajectory.path, for_append=False)
    assert len(list(reader.events())) == len(samples.session())
    with pytest.raises(ValueError, match="not open for appending"):
        reader.append(Notice(text="x"))


def test_a_concurrent_reader_sees_only_whole_events(trajectory: Trajectory) -> None:
    reader = Trajectory.open(trajectory.path, for_append=False)
    stop = threading.Event()

    def write() -> None:
        for _ in range(2_000):
            trajectory.append(Notice(text="n" * 200))
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not stop.is_set():
        seqs = [item.seq for item in reader.events()]
        assert seqs == list(range(1, len(seqs) + 1))
    writer.join()
    assert len(list(reader.events())) == 2_000


# --- what it is -----------------------------------------------------------------------------


def test_meta_says_what_the_session_is(trajectory: Trajectory, root: Path) -> None:
    fill(trajectory)
    trajectory.close()
    meta = Trajectory.open(trajectory.path, for_append=False).meta
    assert meta.title == "Fix calc.add today; never touch the tests."
    assert (meta.status, meta.turns, meta.steps, meta.calls) == ("done", 1, 2, 2)
    assert meta.files_changed == ["calc.py"]
    assert (meta.plan_done, meta.plan_total) == (1, 2)
    assert meta.model == "tiny"


def test_meta_is_rebuilt_when_it_is_missing_or_out_of_date(trajectory: Trajectory) -> None:
    fill(trajectory)
    trajectory.sync()
    before = trajectory.meta.model_copy()
    trajectory.append(Notice(text="not in meta.json"))
    os.close(trajectory._lock or 0)  # as a kill would
    trajectory._lock = None
    (trajectory.directory / "meta.json").write_text("{ half")
    again = Trajectory.open(trajectory.path)
    assert again.meta.title == before.title
    assert again.meta.events == before.events + 1
    again.close()


def test_a_branch_is_read_from_git(root: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "topic/x", str(root)], check=True)
    with Trajectory.create(root) as trajectory:
        assert (trajectory.meta.branch, trajectory.meta.commit) == ("topic/x", "")
    environment = {
        f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    subprocess.run(
        ["git", "-C", str(root), "commit", "-q", "--allow-empty", "-m", "m"],
        check=True,
        env={**os.environ, **environment},
    )
    with Trajectory.create(root) as trajectory:
        assert re.fullmatch(r"[0-9a-f]{40}", trajectory.meta.commit)


def test_ids_sort_by_time_and_are_short() -> None:
    from datetime import UTC, datetime

    early = new_session_id(datetime(2026, 11, 24, 17, 37, 8, tzinfo=UTC))
    late = new_session_id(datetime(2026, 12, 1, tzinfo=UTC))
    assert early < late
    assert re.fullmatch(r"261124-173708-[2-9a-z]{4}", early)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "-x"])
def test_invalid_ids_are_refused(root: Path, name: str) -> None:
    with pytest.raises(UsageError):
        Trajectory.create(root, session_id=name or " ")


def test_a_session_is_private_to_its_user(trajectory: Trajectory) -> None:
    assert trajectory.directory.stat().st_mode & 0o077 == 0
    assert trajectory.path.stat().st_mode & 0o077 == 0


# --- forks ----------------------------------------------------------------------------------


def test_a_fork_does_not_depend_on_its_origin(trajectory: Trajectory, root: Path) -> None:
    fill(trajectory)
    trajectory.append(ToolFinished(call_id="z", name="read", ok=True, content="k" * 90_000))
    count = len(samples.session())
    with Trajectory.fork(trajectory.path, root) as fork:
        assert fork.id != trajectory.id
        assert fork.meta.parent == f"{trajectory.id}:{count + 1}"
        for blob in trajectory.blobs.iterdir():
            blob.unlink()
        got = [item.event for item in fork.events()]
        assert got[:-1] == samples.session()
        assert isinstance(got[-1], ToolFinished)
        assert got[-1].content == "k" * 90_000
        assert fork.append(Notice(text="on")) == count + 2
    assert trajectory.last_seq == count + 1


def test_a_fork_from_the_middle_ends_there(trajectory: Trajectory, root: Path) -> None:
    fill(trajectory)
    with Trajectory.fork(trajectory.directory, root, at=6) as fork:
        assert [item.event for item in fork.events()] == samples.session()[:6]
        assert fork.last_seq == 6
