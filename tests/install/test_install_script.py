"""install.sh, run for real; only the programs it must not find are hidden from it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import venv
from pathlib import Path

import pip
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "install.sh"
TOOLS = """
    awk basename cat cksum cp cut date df dirname find git grep head id ln ls mkdir mktemp mv
    readlink rg rm sed sh tail tr true uname bwrap
"""


@pytest.fixture
def environment(tmp_path, laguna_home) -> dict[str, str]:
    """A home of its own, with the pip configuration of the user who runs the tests."""
    (tmp_path / "home").mkdir()
    kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "PATH", "LANG", "SSL_"))}
    return kept | {
        "HOME": str(tmp_path / "home"),
        "LAGUNA_HOME": str(laguna_home),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path),
        "PYTHON": sys.executable,
    }


@pytest.fixture
def bare(tmp_path, environment) -> Path:
    """Makes PATH a directory with the usual tools, but no Python, compiler or apt-get."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for tool in TOOLS.split():
        found = shutil.which(tool)
        if found:
            (directory / tool).symlink_to(found)
    environment["PATH"] = str(directory)
    del environment["PYTHON"]
    return directory


@pytest.fixture
def prefix(tmp_path) -> Path:
    """A prefix that has its Python environment already, since making one takes seconds."""
    path = tmp_path / "p"
    venv.create(path / "share/laguna/venv", symlinks=True)
    [packages] = path.glob("share/laguna/venv/lib/python*/site-packages")
    (packages / "pip.pth").write_text(str(Path(pip.__file__).parents[1]))
    return path


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )


def refusal(environment: dict[str, str], *arguments: str) -> str:
    """The one line of the error that it ends with."""
    done = run(environment, *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.strip().split("\n")
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("install.sh: ")
    return lines[0]


def script(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_scripts_are_clean():
    shellcheck = Path(sys.executable).with_name("shellcheck")
    subprocess.run([shellcheck, SCRIPT, ROOT / ".ci/run"], check=True)


def test_help_names_every_option(environment):
    done = run(environment, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    options = ("--cpu", "--cuda", "--metal", "--vulkan", "--prefix", "--demo", "--dev")
    for option in (*options, "--uninstall", "--models", "--help"):
        assert f"\n  {option} " in done.stdout


def test_wrong_options_are_refused(environment):
    assert "unknown option --what" in refusal(environment, "--what")
    assert "--prefix needs a directory" in refusal(environment, "--prefix")
    assert "--models needs --uninstall" in refusal(environment, "--models")


def test_no_python_is_one_line(environment, bare):
    line = refusal(environment)
    assert "needs Python 3.11 or newer and found none" in line
    assert "python3" in line


def test_an_old_python_is_not_used(environment, bare):
    script(bare / "python3", "exit 1")
    assert "needs Python 3.11 or newer" in refusal(environment)


def test_no_compiler_is_one_line(environment, bare):
    environment["PYTHON"] = sys.executable
    line = refusal(environment, "--cpu")
    assert "needs a C++ compiler and found none: install" in line


@pytest.mark.parametrize(
    ("manager", "line"),
    [
        ("apt-get", "apt-get install build-essential"),
        ("dnf", "dnf install gcc gcc-c++"),
        ("pacman", "pacman -S base-devel"),
    ],
)
def test_missing_packages_are_named_for_the_package_manager_found(environment, bare, manager, line):
    environment["PYTHON"] = sys.executable
    script(bare / manager, "exit 1")
    assert refusal(environment, "--cpu").endswith(line)


def test_a_full_disk_is_one_line(environment, bare):
    environment["PYTHON"] = sys.executable
    for compiler in ("cc", "c++"):
        script(bare / compiler, "exit 0")
    script(
        bare / "df",
        "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'\n"
        "echo '/dev/x 1000000 900000 102400 90% /'",
    )
    line = refusal(environment, "--cpu")
    assert "not enough disk space in " in line
    assert "laguna needs 600 MB" in line
    assert "100 MB are free" in line


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="Macs have no AMX of Intel's kind")
@pytest.mark.parametrize(
    ("compiled", "noted"),
    [
        ("movb $123, 48(%rsp)\nldtilecfg (%rsp)", False),
        ("movb $1, (%rsp)\nldtilecfg (%rsp)", True),
        ("", False),
    ],
    ids=["right", "drops what is stored", "knows no AMX"],
)
def test_a_compiler_that_breaks_amx_builds_without_it(environment, bare, prefix, compiled, noted):
    environment |= {"PYTHON": sys.executable, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    environment.pop("PIP_FIND_LINKS", None)
    for compiler in ("cc", "c++"):
        script(bare / compiler, f"printf '%s\\n' '{compiled}'")
    grep = shutil.which("grep")
    script(
        bare / "grep",
        'case "$*" in\n'
        "*/proc/cpuinfo*) echo 'flags : avx512_vnni amx_int8'; exit 0 ;;\n"
        f'*) exec {grep} "$@" ;;\n'
        "esac",
    )
    done = run(environment, "--cpu", "--prefix", str(prefix))
    assert done.returncode == 1
    assert ("building llama.cpp without it" in done.stdout) == noted


def test_an_impossible_backend_is_refused(environment, bare):
    environment["PYTHON"] = sys.executable
    if sys.platform != "darwin":
        assert "--metal needs macOS" in refusal(environment, "--metal")
    assert "--vulkan needs the Vulkan SDK" in refusal(environment, "--vulkan")


@pytest.mark.slow
def test_no_network_is_one_line(environment, prefix, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in [name for name in environment if name.startswith("PIP_")]:
        del environment[name]
    environment["PIP_CONFIG_FILE"] = os.devnull
    environment["PIP_INDEX_URL"] = f"http://127.0.0.1:{port}/simple"
    environment["PIP_RETRIES"] = "1"
    line = refusal(environment, "--cpu", "--prefix", str(prefix))
    assert "the package index cannot be reached: check the network" in line
    assert (tmp_path / "laguna-install.log").exists()
    assert not (prefix / "bin/laguna").exists()


@pytest.mark.slow
def test_an_index_that_lacks_a_package_is_one_line(environment, prefix):
    for name in [name for name in environment if name.startswith("PIP_")]:
        del environment[name]
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    line = refusal(environment, "--cpu", "--prefix", str(prefix))
    assert "the package index does not offer llama-cpp-python==" in line


@pytest.mark.parametrize("options", [[], ["--models"]])
def test_uninstalling_leaves_models_unless_asked(environment, laguna_home, options):
    home = Path(environment["HOME"])
    venv, models = laguna_home / "data/venv", laguna_home / "data/models"
    for directory in (venv / "bin", models, home / ".local/bin"):
        directory.mkdir(parents=True)
    (venv / ".laguna").write_text("llama x\n")
    (models / "m.gguf").write_text("GGUF")
    link = home / ".local/bin/laguna"
    link.symlink_to(venv / "bin/laguna")
    done = run(environment, "--uninstall", *options)
    assert done.returncode == 0, done.stderr
    assert not venv.exists()
    assert not link.is_symlink()
    assert models.exists() == (not options)
    assert str(models) in done.stdout


def test_uninstalling_touches_only_what_belongs_to_laguna(environment, laguna_home):
    home = Path(environment["HOME"])
    (home / ".local/bin").mkdir(parents=True)
    link = home / ".local/bin/laguna"
    link.symlink_to("/usr/bin/true")
    other = laguna_home / "data/venv/keep"
    other.mkdir(parents=True)
    assert run(environment, "--uninstall").returncode == 0
    assert link.is_symlink()
    assert other.exists()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_installing_twice_then_uninstalling(environment, tmp_path):
    """With the wheel of the development environment, or a new one."""
    if sys.platform != "darwin":
        environment["XDG_CACHE_HOME"] = os.environ.get(
            "XDG_CACHE_HOME", str(Path.home() / ".cache")
        )
    prefix = tmp_path / "my prefix"
    clone = {path.name for path in ROOT.iterdir()}
    first = run(environment, "--cpu", "--prefix", str(prefix))
    assert first.returncode == 0, first.stdout + first.stderr
    assert "is not on your PATH" in first.stdout
    command = prefix / "bin/laguna"
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("laguna ")
    listed = subprocess.run(
        [command, "models", "list"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=tmp_path,
    )
    assert "laguna-xs-2.1" in listed.stdout
    assert {path.name for path in ROOT.iterdir()} - clone <= {".pytest_cache"}

    marker = prefix / "share/laguna/venv/kept"
    marker.touch()
    environment["PATH"] += f":{prefix}/bin"
    second = run(environment, "--cpu", "--prefix", str(prefix))
    assert second.returncode == 0, second.stdout + second.stderr
    assert "llama.cpp" not in second.stdout
    assert "is not on your PATH" not in second.stdout
    assert marker.exists()

    assert run(environment, "--uninstall", "--prefix", str(prefix)).returncode == 0
    assert not command.is_symlink()
    assert not (prefix / "share/laguna/venv").exists()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_llama_cpp_that_does_not_run_is_neither_installed_nor_kept(environment, prefix, tmp_path):
    kept = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "laguna/wheels")
    wheels = Path(environment["XDG_CACHE_HOME"], "laguna/wheels")
    if kept.exists():
        shutil.copytree(kept, wheels)
    before = len(list(wheels.glob("*")))
    environment["LLAMA_CPP_LIB_PATH"] = str(tmp_path)
    line = refusal(environment, "--cpu", "--prefix", str(prefix))
    assert "llama.cpp was built but does not run on this machine" in line
    assert "Shared library" in (tmp_path / "laguna-install.log").read_text()
    assert len(list(wheels.glob("*"))) == max(0, before - 1)
    assert not (prefix / "bin/laguna").exists()
    assert not (tmp_path / "p/share/laguna/venv/.laguna").exists()


def test_cleaning_leaves_a_linked_environment_alone(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shared = tmp_path / "shared"
    (shared / "bin").mkdir(parents=True)
    work = tmp_path / "work"
    work.mkdir()
    shutil.move(tmp_path / "Makefile", work)
    (work / ".venv").symlink_to(shared)
    (work / "build").mkdir()
    subprocess.run(["make", "clean"], cwd=work, check=True, capture_output=True)
    assert (shared / "bin").exists()
    assert sorted(path.name for path in work.iterdir()) == ["Makefile"]
