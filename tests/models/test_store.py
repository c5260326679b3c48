from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from laguna_agent.config import Config, EngineConfig
from laguna_agent.errors import ModelError, UsageError
from laguna_agent.models.catalogue import load_catalogue
from laguna_agent.models.fetch import local_models
from laguna_agent.models.fetch.acquire import import_file
from laguna_agent.models.fetch.local_models import find_ollama
from laguna_agent.models.store import IndexEntry, ResolvedModel, Store, resolve
from support.gguf_files import QWEN, gguf_bytes, write_gguf
from support.synthetic import tiny_laguna

STARTER_FILE = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"


@pytest.fixture
def store(laguna_home) -> Store:
    made = Store()
    made.directory.mkdir(parents=True)
    assert made.directory.is_relative_to(laguna_home)
    return made


@pytest.fixture
def ollama(tmp_path, monkeypatch) -> Path:
    """Ollama's directory with one model, `tiny:1b`."""
    root = tmp_path / "ollama"
    data = gguf_bytes()
    digest = hashlib.sha256(data).hexdigest()
    manifest = root / "manifests/registry.ollama.ai/library/tiny/1b"
    manifest.parent.mkdir(parents=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "0" * 64},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"},
    ]
    manifest.write_text(json.dumps({"layers": layers}))
    (root / "blobs").mkdir()
    (root / "blobs" / f"sha256-{digest}").write_bytes(data)
    monkeypatch.setenv("OLLAMA_MODELS", str(root))
    return root


def names(store: Store) -> list[str]:
    return [one.name for one in store.installed()]


# --- resolving --------------------------------------------------------------------------------


def test_without_a_model_the_error_names_both_commands(store):
    with pytest.raises(ModelError, match="no model is installed") as caught:
        resolve(None, Config())
    assert caught.value.exit_code == 3
    lines = str(caught.value).split("\n")
    assert len(lines) == 2
    assert "laguna models pull laguna-xs-2.1" in lines[1]
    assert "laguna models pull starter" in lines[1]


def test_a_path_is_taken_as_it_is(tmp_path):
    path = write_gguf(tmp_path / "My Model.gguf")
    found = resolve(str(path), Config())
    assert isinstance(found, ResolvedModel)
    assert (found.path, found.name, found.entry) == (path, "my-model", None)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.header.architecture == "qwen2"


def test_a_path_relative_to_home_or_here(tmp_path, monkeypatch):
    write_gguf(tmp_path / "m.gguf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("m.gguf", "./m.gguf", "~/m.gguf"):
        assert resolve(text, Config()).path == tmp_path / "m.gguf"


def test_the_real_starter_is_known_by_its_digest(starter_model, tmp_path):
    (tmp_path / "renamed.gguf").symlink_to(starter_model)
    found = resolve(str(tmp_path / "renamed.gguf"), Config())
    assert found.sha256 == load_catalogue().get("starter").file.sha256
    assert found.entry == load_catalogue().get("starter").entry


def test_flag_then_configuration_then_default_then_the_best_there(store):
    for name in ("laguna-xs-2.1", "b", "c", "qwen2.5-coder-1.5b-instruct"):
        known = load_catalogue().find(name)
        file = known.file.file if known else f"{name}.gguf"
        write_gguf(store.directory / file, QWEN | {"general.name": name})
        store.add(name, IndexEntry(file=file))
    assert resolve(None, Config()).name == "laguna-xs-2.1"
    store.set_default("b")
    assert resolve(None, Config()).name == "b"
    assert resolve(None, Config(model="c")).name == "c"
    assert resolve("starter", Config(model="c")).name == "qwen2.5-coder-1.5b-instruct"
    store.remove("b")
    store.remove("laguna-xs-2.1")
    assert resolve(None, Config()).name == "c"
    other = load_catalogue().get("laguna-xs-2.1:q8_0")
    write_gguf(store.directory / other.file.file)
    assert resolve(None, Config()).name == "laguna-xs-2.1:q8_0"
    store.remove("laguna-xs-2.1:q8_0")
    store.remove("c")
    assert resolve(None, Config()).name == "qwen2.5-coder-1.5b-instruct"


def test_a_known_model_that_is_not_there_says_how_to_get_it(store):
    with pytest.raises(ModelError, match="is not installed") as caught:
        resolve("laguna", Config())
    assert str(caught.value).endswith("laguna models pull laguna-xs-2.1")
    with pytest.raises(ModelError, match=r"laguna models pull laguna-xs-2\.1:q4_k_m$"):
        resolve("laguna:q4_k_m", Config())
    with pytest.raises(ModelError, match="there is no model 'nonsense'"):
        resolve("nonsense", Config())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"not a model", "is not a GGUF file"),
        (gguf_bytes()[:-9], "is truncated"),
        (gguf_bytes(QWEN | {"general.architecture": "mystery"}), "'mystery'"),
        (None, "does not exist"),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_one_line(tmp_path, content, why):
    path = tmp_path / "bad.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=why) as caught:
        resolve(str(path), Config())
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message


def test_a_model_larger_than_the_machine_is_refused(tmp_path):
    path = write_gguf(tmp_path / "m.gguf", QWEN | {"qwen2.context_length": 1 << 45})
    with pytest.raises(ModelError, match="too large for this machine") as caught:
        resolve(str(path), Config(engine=EngineConfig(context=1 << 44)))
    assert caught.value.exit_code == 3


def test_the_tiny_laguna_resolves():
    assert resolve(str(tiny_laguna()), Config()).header.architecture == "laguna"


# --- digests ----------------------------------------------------------------------------------


def test_a_digest_is_computed_once_for_as_long_as_the_file_is_the_same(store, tmp_path):
    path = write_gguf(tmp_path / "m.gguf")
    hashed: list[int] = []

    def digest() -> str:
        return store.digest(path, lambda done, _: hashed.append(done))

    first = digest()
    assert len(hashed) == 1
    assert digest() == first
    assert len(hashed) == 1
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert digest() == hashlib.sha256(data).hexdigest()
    assert len(hashed) == 2


def test_a_replaced_file_of_the_same_size_and_time_is_hashed_again(store, tmp_path):
    path = write_gguf(tmp_path / "m.gguf")
    info = path.stat()
    store.digest(path)
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes()[:-1] + b"!")
    os.utime(other, ns=(info.st_atime_ns, info.st_mtime_ns))
    other.replace(path)
    assert store.digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


# --- the index --------------------------------------------------------------------------------


def test_a_file_put_there_by_hand_is_found(store):
    write_gguf(store.directory / STARTER_FILE)
    write_gguf(store.directory / "Some Other.gguf")
    assert names(store) == ["qwen2.5-coder-1.5b-instruct", "some-other"]
    assert store.find("starter").path == store.directory / STARTER_FILE


def test_another_quantisation_serves_the_bare_name_but_not_a_full_one(store):
    file = load_catalogue().get("laguna:q8_0").file.file
    write_gguf(store.directory / file)
    assert store.find("laguna").name == "laguna-xs-2.1:q8_0"
    assert store.find("laguna:q8_0").name == "laguna-xs-2.1:q8_0"
    assert store.find("laguna:q4_k_m") is None


def test_a_damaged_index_loses_no_models(store):
    write_gguf(store.directory / STARTER_FILE)
    (store.directory / "index.json").write_text('{"version": 1, "models": {')
    assert names(store) == ["qwen2.5-coder-1.5b-instruct"]
    store.set_default("x")
    assert store.default == "x"


def test_an_index_of_a_newer_laguna_is_left_untouched(store):
    text = '{"version": 2, "models": {}}'
    (store.directory / "index.json").write_text(text)
    with pytest.raises(ModelError, match="newer laguna"):
        store.set_default("x")
    assert (store.directory / "index.json").read_text() == text


def test_an_index_cannot_point_outside(store, tmp_path):
    victim = write_gguf(tmp_path / "victim.gguf")
    entry = {"file": os.path.relpath(victim, store.directory)}
    (store.directory / "index.json").write_text(json.dumps({"models": {"evil": entry}}))
    with pytest.raises(ModelError, match="is not installed"):
        store.remove("evil")
    assert victim.exists()


@pytest.mark.slow
def test_changes_of_several_processes_are_all_kept(store):
    code = """
import sys
from pathlib import Path
from laguna_agent.models.store import Store
for number in range(int(sys.argv[2]), 40, 2):
    Store(Path(sys.argv[1])).record(f"model-{number}", f"{number:064d}")
"""
    command = [sys.executable, "-c", code, str(store.directory)]
    children = [subprocess.Popen([*command, first]) for first in ("0", "1")]
    assert [child.wait(60) for child in children] == [0, 0]
    assert all(store.recorded(f"model-{n}") == f"{n:064d}" for n in range(40))


def test_removing_takes_the_file_and_what_was_left_of_it(store):
    path = write_gguf(store.directory / STARTER_FILE)
    path.with_name(STARTER_FILE + ".part").write_bytes(b"GGUF")
    store.set_default("qwen2.5-coder-1.5b-instruct")
    assert store.remove("starter").name == "qwen2.5-coder-1.5b-instruct"
    assert list(store.directory.glob("*.gguf*")) == []
    assert store.default is None
    with pytest.raises(ModelError, match="is not installed"):
        store.remove("starter")


# --- importing --------------------------------------------------------------------------------


def test_importing_links_and_removing_leaves_the_original(store, tmp_path):
    path = write_gguf(tmp_path / "Fine-Tune.gguf")
    done = import_file(str(path), store)
    assert (done.name, done.linked) == ("fine-tune", str(path))
    assert done.path.samefile(path)
    assert not done.path.is_symlink()
    assert resolve("fine-tune", Config()).path == done.path
    assert import_file(str(path), store) == done
    store.remove("fine-tune")
    assert path.exists()
    assert names(store) == []


def test_importing_across_file_systems_links_symbolically(store, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = write_gguf(tmp_path / "m.gguf")
    done = import_file(str(path), store)
    assert done.path.is_symlink()
    assert done.path.samefile(path)
    path.unlink()
    assert not store.find("m").present
    with pytest.raises(ModelError, match="m is missing: its file was") as caught:
        resolve("m", Config())
    assert "laguna models remove m" in str(caught.value)
    store.remove("m")
    assert names(store) == []


def test_a_file_of_the_catalogue_is_recognised_by_its_digest(store, starter_model):
    done = import_file(str(starter_model), store)
    assert done.name == "qwen2.5-coder-1.5b-instruct"
    assert resolve("starter", Config()).name == done.name


def test_another_file_does_not_take_a_known_name(store, tmp_path):
    path = write_gguf(tmp_path / "starter.gguf")
    with pytest.raises(UsageError, match="the name of another model"):
        import_file(str(path), store)
    assert import_file(str(path), store, name="mine").name == "mine"


def test_a_file_that_is_not_a_model_is_not_imported(store, tmp_path):
    (tmp_path / "bad.gguf").write_text("hello")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        import_file(str(tmp_path / "bad.gguf"), store)
    with pytest.raises(ModelError, match="neither a file nor a model of Ollama"):
        import_file(str(tmp_path / "absent.gguf"), store)
    assert list(store.directory.iterdir()) == []


def test_a_split_model_is_imported_whole(store, tmp_path):
    one = write_gguf(tmp_path / "m-00001-of-00002.gguf", QWEN | {"split.count": 2})
    write_gguf(tmp_path / "m-00002-of-00002.gguf", {"split.count": 2})
    done = import_file(str(one), store, name="pair")
    assert store.digest(done.path) == done.sha256
    assert resolve("pair", Config()).header.tensors == 2
    assert len(list(store.directory.glob("*.gguf"))) == 2
    assert names(store) == ["pair"]
    assert done.size == sum(path.stat().st_size for path in tmp_path.glob("m-*.gguf"))
    store.remove("pair")
    assert list(store.directory.glob("*.gguf")) == []


def test_a_model_of_ollama_is_imported_by_its_name(store, ollama):
    done = import_file("tiny:1b", store)
    assert done.name == "tiny-1b"
    assert done.path.samefile(next((ollama / "blobs").iterdir()))


def test_names_of_ollama_stay_in_its_directory(ollama, tmp_path):
    assert find_ollama("tiny:1b") is not None
    assert find_ollama("registry.ollama.ai/library/tiny:1b") is not None
    for name in ("tiny", "../tiny:1b", "a/../../x:y", "tiny:1b\n", "", "a/b/c/d/e:1"):
        assert find_ollama(name) is None
    manifest = ollama / "manifests/registry.ollama.ai/library/tiny/evil"
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../x"}
    manifest.write_text(json.dumps({"layers": [layer]}))
    assert find_ollama("tiny:evil") is None


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    for name in ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(
    "folder", [".ollama/models", "snap/ollama/common/models", "usr", "var", "snap", "service"]
)
def test_ollamas_models_are_found_wherever_it_is_installed(
    store, ollama, home, tmp_path, monkeypatch, folder
):
    assert {Path(f) for f in ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/models")} | {
        Path("/var/snap/ollama/common/models"),
        Path("/var/lib/ollama"),
    } <= set(local_models._ollama_folders())
    place = home / folder
    if folder == "service":
        unit = tmp_path / "systemd/ollama.service.d/override.conf"
        unit.parent.mkdir(parents=True)
        unit.write_text(f'[Service]\nEnvironment="OLLAMA_MODELS={place}"\n')
        monkeypatch.setattr(local_models, "_OLLAMA_UNITS", (str(tmp_path / "systemd"),))
    elif not folder.endswith("models"):
        monkeypatch.setattr(local_models, "_OLLAMA_FOLDERS", (str(place),))
    place.parent.mkdir(parents=True, exist_ok=True)
    ollama.rename(place)
    assert import_file("tiny:1b", store).name == "tiny-1b"


@pytest.mark.parametrize(
    ("file", "asked"),
    [
        (".lmstudio/models/user/Tiny-GGUF/Tiny-Q4_K_M.gguf", "user/tiny-gguf"),
        (".cache/lm-studio/models/user/Tiny-GGUF/Tiny-Q4_K_M.gguf", "Tiny-Q4_K_M"),
        ("else/models/user/Tiny-GGUF/Tiny-Q4_K_M.gguf", "user/Tiny-GGUF:q4_k_m"),
        (".cache/llama.cpp/user_Tiny-GGUF_Tiny-Q4_K_M.gguf", "hf.co/user/Tiny-GGUF:Q4_K_M"),
        (
            ".cache/huggingface/hub/models--user--Tiny-GGUF/snapshots/0a1/Tiny-Q4_K_M.gguf",
            "user/Tiny-GGUF",
        ),
    ],
)
def test_models_of_other_programs_are_imported_by_their_names(store, home, file, asked):
    (home / ".lmstudio-home-pointer").write_text(str(home / "else"))
    (home / file).parent.mkdir(parents=True)
    blob = home / "blob"
    blob.write_bytes(gguf_bytes())
    (home / file).symlink_to(blob)
    (home / file).with_name("mmproj-Tiny.gguf").write_bytes(b"GGUF")
    done = import_file(asked, store)
    assert done.path.samefile(blob)
    assert done.name == Path(file).stem.lower()
    other = (home / file).with_name(Path(file).name.replace("Q4_K_M", "Q8_0"))
    other.write_bytes(gguf_bytes())
    if ":" not in asked and "Q4" not in asked:
        with pytest.raises(ModelError, match=r"several files: .*Q4_K_M.gguf, .*Q8_0.gguf"):
            import_file(asked, store)


def test_a_split_model_in_the_cache_of_hugging_face_is_imported_whole(store, home):
    snapshot = home / ".cache/huggingface/hub/models--u--m/snapshots/0a1"
    snapshot.mkdir(parents=True)
    for n in (1, 2):
        write_gguf(home / f"blob{n}", (QWEN if n == 1 else {}) | {"split.count": 2})
        (snapshot / f"m-0000{n}-of-00002.gguf").symlink_to(home / f"blob{n}")
    done = import_file("u/m", store, name="pair")
    assert resolve("pair", Config()).header.tensors == 2
    assert done.present


def test_a_folder_of_ollama_that_may_not_be_read_is_named(store, home, monkeypatch):
    (home / ".ollama/models").mkdir(parents=True)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)  # root may read everything
    with pytest.raises(ModelError, match=r"models you may not read\nJoin its group"):
        import_file("tiny:1b", store)
