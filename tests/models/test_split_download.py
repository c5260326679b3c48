"""A model that is split into several files is pulled whole by the address of any of them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from laguna_agent.config import Config
from laguna_agent.errors import ModelError
from laguna_agent.models import store as store_module
from laguna_agent.models.catalogue import Catalogue, load_catalogue
from laguna_agent.models.fetch import acquire, download
from laguna_agent.models.fetch.acquire import pull
from laguna_agent.models.sizing import quant_choice
from laguna_agent.models.store import Store, resolve
from support.file_server import FileServer, serving
from support.gguf_files import QWEN, gguf_bytes

NAMES = [f"Tiny-Q4_K_M-{n:05d}-of-00003.gguf" for n in (1, 2, 3)]
PADDING = [bytes([n]) * (1 << 20) for n in (1, 2, 3)]
PARTS = {
    name: gguf_bytes({**(QWEN if n == 0 else {}), "split.count": 3, "split.no": n}) + PADDING[n]
    for n, name in enumerate(NAMES)
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("LAGUNA_HOME", str(tmp_path))
    monkeypatch.setattr(download, "_ATTEMPTS", 1)
    return Store()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(b"") as running:
        running.files = dict(PARTS)
        yield running


def address(server: FileServer, name: str = NAMES[0]) -> str:
    return server.url.replace("model.gguf", f"some/repo/{name}?download=true")


def bodies(server: FileServer) -> list[str]:
    """The names of the files whose content was asked for."""
    asked = [one["path"] for one in server.asked if one["method"] == "GET"]
    return [path.partition("?")[0].rpartition("/")[2] for path in asked]


@pytest.mark.parametrize("given", NAMES)
@pytest.mark.parametrize("knows_head", [True, False])
def test_any_part_stands_for_the_whole_model(
    store: Store, server: FileServer, given: str, knows_head: bool
) -> None:
    server.knows_head = knows_head
    notices: list[str] = []
    done = pull(address(server, given), store, on_notice=notices.append)
    for name, data in PARTS.items():
        assert (store.directory / name).read_bytes() == data
    assert (done.path.name, done.size) == (NAMES[0], sum(map(len, PARTS.values())))
    assert any("split into 3 files" in notice for notice in notices)
    found = resolve(done.name, Config(), store=store)
    assert found.header.tensors == 3
    digests = [hashlib.sha256(data).hexdigest() for data in PARTS.values()]
    assert found.sha256 == hashlib.sha256("".join(digests).encode()).hexdigest()
    assert [one.name for one in store.installed()] == [done.name]
    store.remove(done.name)
    assert not list(store.directory.glob("*.gguf*"))


def test_a_missing_part_is_said_before_anything_is_fetched(
    store: Store, server: FileServer
) -> None:
    del server.files[NAMES[2]]
    with pytest.raises(ModelError, match=r"number 3 \(Tiny.*\) cannot be had: .*\nNothing was"):
        pull(address(server), store)
    assert set(bodies(server)) <= {NAMES[2]}  # asked in both ways
    assert not list(store.directory.glob("*.gguf*"))


def test_the_disk_must_have_room_for_all_parts(
    store: Store, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = (64 << 20) + 2 * len(PARTS[NAMES[0]])
    usage = shutil.disk_usage(tmp_path)._replace(free=room)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match="not enough disk"):
        pull(address(server), store)
    assert bodies(server) == []


@pytest.mark.parametrize("knows_head", [True, False])
def test_a_hub_that_redirects_each_part_elsewhere(
    store: Store, server: FileServer, knows_head: bool
) -> None:
    """As a hub does: to a store whose addresses are other for each file and name none."""
    with serving(b"") as elsewhere:
        elsewhere.knows_head = knows_head
        elsewhere.files = {f"blob{n}": PARTS[name] for n, name in enumerate(NAMES)}
        server.redirects = {
            name: elsewhere.url.replace("model.gguf", f"xet/blob{n}?X-Signature=a%2Fb{n}&id=x")
            for n, name in enumerate(NAMES)
        }
        done = pull(address(server, NAMES[1]), store)
        assert bodies(elsewhere)[-3:] == ["blob0", "blob1", "blob2"]
        store.remove(done.name)
        elsewhere.asked = []
        del elsewhere.files["blob2"]
        with pytest.raises(ModelError, match=r"number 3 .* does not have the file"):
            pull(address(server, NAMES[1]), store, trust_new=True)
        assert "blob0" not in bodies(elsewhere) or not knows_head
    assert all(one["path"].endswith("?download=true") for one in server.asked)
    assert not list(store.directory.glob("*.gguf*"))


def test_a_repository_that_was_renamed_is_followed(store: Store, server: FileServer) -> None:
    old = [one.replace("Tiny", "Old") for one in NAMES]
    server.redirects = {was: f"/new/repo/{name}" for was, name in zip(old, NAMES, strict=True)}
    done = pull(address(server, old[0]), store)
    assert [path.name for path in sorted(store.directory.glob("*.gguf"))] == old
    assert resolve(done.name, Config(), store=store).header.tensors == 3


def test_the_address_of_a_files_page_is_that_of_the_file(
    store: Store, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = server.url.removesuffix("/model.gguf")
    monkeypatch.setenv("HF_ENDPOINT", hub)
    assert pull(f"{hub}/some/repo/blob/main/Q4/{NAMES[2]}", store).present
    paths = {one["path"] for one in server.asked}
    assert paths == {f"/some/repo/resolve/main/Q4/{name}" for name in NAMES}


def test_a_web_page_is_refused_before_anything_is_fetched(store: Store, server: FileServer) -> None:
    server.content_type = "text/html; charset=utf-8"
    server.files["model.gguf"] = PARTS[NAMES[0]]
    with pytest.raises(ModelError, match=r"sends a web page, not a file\nNothing was fetched"):
        pull(address(server), store)
    assert bodies(server) == []
    with pytest.raises(ModelError, match="sends a web page, not a file"):
        pull(server.url, store)
    assert not list(store.directory.glob("*.gguf*"))


@pytest.fixture
def in_catalogue(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """A catalogue with the split model, in a folder of a repository of the hub."""
    monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/model.gguf"))
    file = {
        "quantization": "Q4_K_M",
        "file": NAMES[0],
        "bytes": sum(map(len, PARTS.values())),
        "part_sha256": [hashlib.sha256(data).hexdigest() for data in PARTS.values()],
        "sources": [{"hub": "some/repo", "revision": "abc", "folder": "Q4/"}],
    }
    known = load_catalogue().get("qwen3-coder-next").entry.model_dump()
    known |= {"name": "tiny", "aliases": [], "files": [file]}
    catalogue = Catalogue.model_validate({"models": [known]})
    for module in (acquire, store_module, quant_choice):
        monkeypatch.setattr(module, "load_catalogue", lambda: catalogue)
    monkeypatch.setattr(acquire, "machine_room", lambda: 1 << 40)
    return catalogue


@pytest.mark.parametrize("name", ["tiny", "tiny:q4_k_m"])
def test_a_split_model_of_the_catalogue_is_pulled_by_name(
    store: Store, server: FileServer, in_catalogue: Catalogue, name: str
) -> None:
    notices: list[str] = []
    done = pull(name, store, on_notice=notices.append)
    assert (done.name, done.path.name, done.present) == ("tiny", NAMES[0], True)
    assert bodies(server) == [f"{one}" for one in NAMES]
    assert server.asked[0]["path"] == f"/some/repo/resolve/abc/Q4/{NAMES[0]}"
    assert any("split into 3 files" in notice for notice in notices)
    assert not any("no digest" in notice for notice in notices), "they are published"
    found = resolve("tiny", Config(), store=store)
    assert found.entry == in_catalogue.models[0]
    server.asked = []
    assert pull(name, store).path == done.path
    assert server.asked == []


def test_other_parts_than_the_catalogues_are_refused(
    store: Store, server: FileServer, in_catalogue: Catalogue
) -> None:
    whole = server.files[NAMES[2]]
    server.files[NAMES[2]] = whole + b"more"
    with pytest.raises(ModelError, match=r"has other files, \d+ bytes in all.*\nNothing was"):
        pull("tiny", store)
    assert bodies(server) == []
    server.files[NAMES[2]] = whole[:-1] + b"\0"
    with pytest.raises(ModelError, match="other bytes"):
        pull("tiny", store)
    assert [one.name for one in sorted(store.directory.glob("*.gguf"))] == NAMES[:2]
    server.files[NAMES[2]] = whole
    assert pull("tiny", store).present


@pytest.mark.slow
@pytest.mark.parametrize("part", [1, 2])
def test_an_interrupted_download_goes_on_where_it_stopped(
    store: Store, server: FileServer, part: int
) -> None:
    server.etag = '"v1"'
    broken = dict(PARTS)
    whole, server.files = server.files, broken
    half = len(PARTS[NAMES[part]]) // 2
    server.drops = [*(len(PARTS[name]) for name in NAMES[:part]), half, *[0] * 10]
    with pytest.raises(ModelError, match="kept; run the same command to continue"):
        pull(address(server), store)
    (partly,) = store.installed()
    with pytest.raises(ModelError, match=f"not complete: {part} of its 3 files are there"):
        resolve(partly.name, Config(), store=store)
    server.drops, server.asked, server.files = [], [], whole
    done = pull(address(server), store)
    assert bodies(server) == NAMES[part:]
    continued = next(one for one in server.asked if one["method"] == "GET")
    assert continued["range"] == f"bytes={half}-"
    for name, data in PARTS.items():
        assert (store.directory / name).read_bytes() == data
    assert resolve(done.name, Config(), store=store).header.tensors == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "data", "why"),
    [
        (0, gguf_bytes({**QWEN, "general.architecture": "mystery", "split.count": 3}), "mystery"),
        (1, PARTS[NAMES[2]], "another part than number 2"),
        (1, gguf_bytes(QWEN), "not one of 3 files"),
        (2, b"<html>sign in</html>", "not a GGUF file"),
        (2, PARTS[NAMES[2]][:200], "truncated|damaged"),
    ],
)
def test_a_wrong_part_is_refused_before_the_next_one(
    store: Store, server: FileServer, part: int, data: bytes, why: str
) -> None:
    server.files[NAMES[part]] = data
    with pytest.raises(ModelError, match=why):
        pull(address(server), store)
    assert set(bodies(server)) == set(NAMES[: part + 1])
    assert sorted(path.name for path in store.directory.glob("*.gguf*")) == NAMES[:part]


@pytest.mark.slow
def test_each_part_must_stay_what_it_was(store: Store, server: FileServer) -> None:
    done = pull(address(server), store)
    store.remove(done.name)
    server.files[NAMES[1]] = server.files[NAMES[1]][:-1] + b"\0"
    with pytest.raises(ModelError, match=r"sent other bytes(?s:.*)--trust-new"):
        pull(address(server), store)
    assert pull(address(server), store, trust_new=True).present


def test_parts_come_from_a_folder_or_from_beside_the_file_given(
    store: Store, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name, data in PARTS.items():
        (mirror / name).write_bytes(data)
    url = f"http://127.0.0.1:9/{NAMES[0]}"
    for origin in (mirror, mirror / NAMES[0]):
        done = pull(url, store, origin=str(origin), offline=True)
        assert done.present
        store.remove(done.name)
