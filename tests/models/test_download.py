from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from laguna_agent.errors import ModelError
from laguna_agent.models.fetch.download import HttpSource, PathSource, fetch
from laguna_agent.models.fetch.partial_download import DownloadProgress, Meter
from support.file_server import FileServer, serving
from support.gguf_files import gguf_bytes

DATA = gguf_bytes(data=bytes(range(256)) * 8192)  # 2 MiB
DIGEST = hashlib.sha256(DATA).hexdigest()
HALF = len(DATA) // 2


@pytest.fixture
def server():
    with serving(DATA) as running:
        yield running


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "models" / "model.gguf"


def source(server: FileServer) -> HttpSource:
    return HttpSource(server.url, pause=lambda _: None)


def get(target: Path, *sources, pinned: str | None = DIGEST, **options):
    size = len(DATA) if pinned else None
    return fetch("tiny", target, sources, size=size, sha256=pinned, **options)


def leave_part(target: Path, data: bytes, note: dict[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_name("model.gguf.part").write_bytes(data)
    target.with_name("model.gguf.part.json").write_text(json.dumps(note))


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path.is_file())


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_file_is_fetched_whole_and_nothing_else_is_left(server, target):
    done = get(target, source(server))
    assert (done.path, done.sha256, done.source) == (target, DIGEST, "127.0.0.1")
    assert target.read_bytes() == DATA
    assert left(target) == ["model.gguf"]
    assert "range" not in server.asked[0]


def test_an_existing_file_is_not_fetched_again(server, target):
    leave_part(target, DATA[:HALF], {"sha256": DIGEST})
    assert get(target, source(server)).sha256 == DIGEST
    assert [asked["range"] for asked in server.asked] == [f"bytes={HALF}-"]
    assert target.read_bytes() == DATA


def test_a_whole_part_needs_no_server(target):
    leave_part(target, DATA, {"sha256": DIGEST})
    get(target, HttpSource(f"http://127.0.0.1:{closed_port()}/model.gguf"))
    assert target.read_bytes() == DATA


def test_a_server_without_ranges_starts_again(server, target):
    server.ranges = False
    leave_part(target, DATA[:HALF], {"sha256": DIGEST})
    assert get(target, source(server)).sha256 == DIGEST
    assert len(server.asked) == 1


def test_a_part_of_something_else_is_not_continued(server, target):
    leave_part(target, b"GGUF of another model", {"sha256": "0" * 64})
    assert get(target, source(server)).sha256 == DIGEST
    assert "range" not in server.asked[0]


def test_a_dropped_connection_is_taken_up_where_it_ended(server, target):
    server.drops = [HALF, 1000]
    assert get(target, source(server)).sha256 == DIGEST
    assert [asked.get("range") for asked in server.asked] == [
        None,
        f"bytes={HALF}-",
        f"bytes={HALF + 1000}-",
    ]


def test_a_server_that_brings_nothing_is_given_up_and_the_part_is_kept(server, target):
    server.drops = [HALF, *[0] * 20]
    with pytest.raises(ModelError, match="cannot be fetched") as caught:
        get(target, source(server))
    assert caught.value.exit_code == 3
    assert "run the same command to continue" in str(caught.value)
    assert len(server.asked) < 10
    server.drops = []
    server.asked.clear()
    get(target, source(server))
    assert server.asked[0]["range"] == f"bytes={HALF}-"


def test_a_busy_server_is_asked_again(server, target):
    server.statuses = [503, 429]
    assert get(target, source(server)).sha256 == DIGEST


def test_wrong_bytes_are_refused_and_removed(server, target):
    server.data = DATA[:-1] + b"!"
    with pytest.raises(ModelError, match="other bytes than expected") as caught:
        get(target, source(server))
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert left(target) == []


def test_after_wrong_bytes_the_next_source_is_tried(server, target):
    notices: list[str] = []
    with serving(DATA[:-1] + b"!") as bad:
        done = get(target, source(bad), source(server), on_notice=notices.append)
    assert done.sha256 == DIGEST
    assert len(notices) == 1
    assert "they were removed; trying 127.0.0.1" in notices[0]


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "does not have the file"), (403, "accept a licence"), (418, "answers HTTP 418")],
)
def test_a_refusal_is_explained(server, target, status, words):
    server.status = status
    with pytest.raises(ModelError, match=words):
        get(target, source(server))
    assert len(server.asked) == 1


def test_an_unreachable_source_gives_one_line_and_the_next_its_turn(server, target):
    notices: list[str] = []
    gone = HttpSource(f"http://127.0.0.1:{closed_port()}/model.gguf", pause=pytest.fail)
    assert get(target, gone, source(server), on_notice=notices.append).sha256 == DIGEST
    assert notices == ["127.0.0.1 cannot be reached (connection refused); trying 127.0.0.1"]


def test_an_unknown_host_gives_one_line(target):
    with pytest.raises(ModelError, match=r"no-such-host\.invalid cannot be reached"):
        get(target, HttpSource("http://no-such-host.invalid/model.gguf", pause=pytest.fail))


def test_a_file_of_another_size_is_refused_before_its_body(server, target):
    server.data = DATA + b"more"
    with pytest.raises(ModelError, match=f"{len(DATA) + 4} bytes instead of {len(DATA)}"):
        get(target, source(server))
    assert left(target) == []


def test_a_page_instead_of_a_file_is_refused(server, target):
    server.data = b"<html>please sign in to this network</html>"
    with pytest.raises(ModelError, match="not a GGUF file"):
        get(target, source(server), pinned=None)
    assert not target.exists()


def test_two_at_once_one_is_refused(server, target):
    server.hold = threading.Event()
    started = threading.Event()
    first = threading.Thread(
        target=get, args=(target, source(server)), kwargs={"on_progress": lambda _: started.set()}
    )
    first.start()
    try:
        assert started.wait(20)
        with pytest.raises(ModelError, match="being fetched by another laguna"):
            get(target, source(server))
    finally:
        server.hold.set()
        first.join(20)
    assert target.read_bytes() == DATA
    assert len(server.asked) == 1


def test_two_at_once_the_second_may_wait_for_the_first(server, target):
    server.hold = threading.Event()
    started = threading.Event()
    results = []

    def run(**options) -> None:
        results.append(get(target, source(server), wait=True, **options))

    first = threading.Thread(target=run, kwargs={"on_progress": lambda _: started.set()})
    second = threading.Thread(target=run)
    first.start()
    assert started.wait(20)
    second.start()
    server.hold.set()
    first.join(20)
    second.join(20)
    assert [result.path for result in results] == [target, target]
    assert len(server.asked) == 1


def test_an_interruption_keeps_the_bytes_so_far(server, target):
    def interrupt(progress: DownloadProgress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(target, source(server), on_progress=interrupt)
    kept = target.with_name("model.gguf.part").stat().st_size
    assert kept > 0
    server.asked.clear()
    assert get(target, source(server)).sha256 == DIGEST
    assert server.asked[0]["range"] == f"bytes={kept}-"


def test_a_full_disk_is_noticed_before_anything_is_fetched(server, target, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 10**6)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match=r"not enough disk: 2 MB are needed .* 1 MB are free"):
        get(target, source(server))
    assert left(target) == []


def test_a_directory_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="cannot be written"):
        get(tmp_path / "file" / "model.gguf", source(server))


def test_without_a_digest_a_part_is_continued_only_at_the_same_version(server, target):
    server.etag = '"one"'
    server.drops = [HALF, *[0] * 20]
    with pytest.raises(ModelError):
        get(target, source(server), pinned=None)
    server.drops, server.asked[:] = [], []
    assert get(target, source(server), pinned=None).sha256 == DIGEST
    assert server.asked[0]["if-range"] == '"one"'
    target.unlink()

    server.drops = [HALF, *[0] * 20]
    with pytest.raises(ModelError):
        get(target, source(server), pinned=None)
    server.drops, server.etag = [], '"two"'
    server.data = DATA[:-4] + b"next"
    get(target, source(server), pinned=None)
    assert target.read_bytes() == server.data


def test_without_a_digest_and_a_version_nothing_is_continued(server, target):
    server.drops = [HALF]
    assert get(target, source(server), pinned=None).sha256 == DIGEST
    assert all("range" not in asked for asked in server.asked)


def test_a_mirror_on_a_disk(target, tmp_path):
    (tmp_path / "model.gguf").write_bytes(DATA)
    leave_part(target, DATA[:HALF], {"sha256": DIGEST})
    assert get(target, PathSource(tmp_path, "model.gguf")).sha256 == DIGEST
    assert (tmp_path / "model.gguf").exists()
    target.unlink()
    (tmp_path / "model.gguf").write_bytes(DATA[:-1])
    with pytest.raises(ModelError, match="is another file"):
        get(target, PathSource(tmp_path / "model.gguf", "model.gguf"))


def test_a_token_is_not_sent_where_the_hub_redirects_to(server, target):
    with serving(b"") as hub:
        host = hub.url.replace("127.0.0.1", "localhost")
        hub.redirect = server.url
        get(target, HttpSource(host, token="secret"))
    assert hub.asked[0]["authorization"] == "Bearer secret"
    assert "authorization" not in server.asked[0]


def test_progress_tells_rate_and_time_left():
    seen: list[DownloadProgress] = []
    now = [0.0]
    meter = Meter("m", seen.append, clock=lambda: now[0])
    meter.total = 1000
    for second in range(11):
        now[0] = float(second)
        meter.at("downloading", 500 + second * 50)
    assert seen[4].rate == pytest.approx(50)
    assert seen[4].eta_s == pytest.approx(300 / 50)
    assert (seen[-1].done, seen[-1].total, seen[-1].eta_s) == (1000, 1000, 0)


def test_progress_is_reported_at_most_ten_times_a_second():
    seen: list[DownloadProgress] = []
    meter = Meter("m", seen.append, clock=lambda: 0.0)
    meter.total = 100
    for done in range(101):
        meter.at("downloading", done)
    assert [progress.done for progress in seen] == [0, 100]


def test_an_address_that_is_none_is_refused():
    for url in ("ftp://host/x.gguf", "https://", "nonsense"):
        with pytest.raises(ModelError, match="not an http or https address"):
            HttpSource(url)


def test_the_locks_of_one_process_end_with_it(server, target):
    """A crashed download does not lock out the next one."""
    child = os.fork()
    if child == 0:
        try:
            from laguna_agent.models.fetch.partial_download import PartialFile

            target.parent.mkdir(parents=True, exist_ok=True)
            PartialFile(target, DIGEST, Meter("m", None), wait=False).__enter__()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert get(target, source(server)).sha256 == DIGEST
