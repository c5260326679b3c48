"""The source archive and the wheel hold the package, whole, and the wheel runs by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "laguna_agent"
METADATA = ("pyproject.toml", "README.md", "LICENSE")


def package_files() -> set[str]:
    """Every file below `laguna_agent`, the folders behind links included."""
    return {
        str(Path(folder, name).relative_to(ROOT))
        for folder, _, names in os.walk(PACKAGE, followlinks=True)
        for name in names
        if not folder.endswith("__pycache__")
    }


def build(kind: str, source: Path, target: Path) -> Path:
    """Build an `sdist` or a `wheel` with the setuptools that is installed; no network."""
    command = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, built from a copy of the checkout with its links."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("laguna_agent", "tools", "models", "prompts"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in METADATA:
        shutil.copy(ROOT / name, folder)
    return build("sdist", folder, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the unpacked source archive."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_the_source_archive_holds_files_instead_of_links(archive):
    with tarfile.open(archive) as file:
        members = file.getmembers()
    assert all(member.isfile() or member.isdir() for member in members)
    names = {member.name.partition("/")[2] for member in members if member.isfile()}
    assert names >= package_files() | set(METADATA)


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    assert names == package_files()
    assert names >= {
        "laguna_agent/py.typed",
        "laguna_agent/interfaces/tui/laguna.tcss",
        "laguna_agent/models/catalogue.toml",
        "laguna_agent/prompts/small/tools/done.md",
        "laguna_agent/evaluation/demo-repository/booking.py",
    }


@pytest.mark.slow
def test_the_installed_wheel_runs_and_finds_its_packs_and_catalogue(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False)
    binaries = tmp_path / "venv" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", str(binaries / "python"), "--no-input")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # Dependencies come from here; a .pth does not follow the editable install of this checkout.
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(here) + "\n")

    def output(*command: str) -> str:
        return subprocess.run(
            [str(binaries / command[0]), *command[1:]],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    where = output("python", "-c", "import laguna_agent.tools as t; print(t.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    assert output("laguna", "--version").startswith("laguna ")
    assert "starter" in output("laguna", "models", "list")
    assert "small" in output("laguna", "prompts", "list")
