"""Programs and modules that laguna loads by itself never come from where a command can put them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import laguna_agent
from laguna_agent import programs
from laguna_agent.errors import UsageError
from laguna_agent.interfaces.tui.clipboard import copy_with_program
from laguna_agent.memory.commits import commits_between
from laguna_agent.policy.sandbox import make_sandbox
from laguna_agent.programs import find_program, python_command, search_path, user_command
from laguna_agent.tools.repository.git_command import git_output
from laguna_agent.tools.repository.git_repository import GitRepository
from support.shells import Shell, make_context
from support.toolbox import Toolbox

NAMES = [
    "git",
    "bwrap",
    "rg",
    "bash",
    "env",
    "sh",
    "true",
    "wl-copy",
    "git-lfs",
    "ps",
]
PACKAGE = Path(laguna_agent.__file__).parent


def plant(folder: Path, marker: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> '{marker}'\n")
        (folder / name).chmod(0o755)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def workspace(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose environment is active and full of planted programs."""
    root = tmp_path / "project"
    root.mkdir()
    for words in (["init", "-q"], ["-c", "user.name=t", "-c", "user.email=t@e", "commit", "-qm1",
                  "--allow-empty"]):  # fmt: skip
        subprocess.run(["git", *words], cwd=root, check=True)
    plant(root / ".venv" / "bin", marker)
    monkeypatch.setenv("PATH", f"{root / '.venv' / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(root)
    return root


async def test_nothing_planted_in_the_workspace_runs(
    workspace: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    choice = make_sandbox(
        workspace=workspace, enabled=True, network=False, writable=[], state_dir=tmp_path / "state"
    )
    assert choice.confined
    subprocess.run(choice.sandbox.wrap(["/bin/sh", "-c", ":"], cwd=workspace), check=True)
    assert git_output(workspace, "rev-parse", "HEAD")
    head = GitRepository(workspace).text("rev-parse", "HEAD").strip()
    assert commits_between(workspace, "", head) == [head[:12]]
    copy_with_program("x")
    box = Toolbox(workspace, tmp_path)
    (workspace / "a.txt").write_text("needle\n")
    assert "a.txt" in (await box.call("search", pattern="needle")).content
    (tmp_path / "other").mkdir()
    shell = Shell(make_context(tmp_path / "other", confined=False))
    assert (await shell("echo ok")).ok
    await shell.close()
    assert not marker.exists()


def test_importing_gitpython_runs_no_planted_git(workspace: Path, marker: Path) -> None:
    code = (
        "from pathlib import Path; "
        "from laguna_agent.tools.repository.git_repository import GitRepository; "
        f"GitRepository(Path({str(workspace)!r})).text('status')"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path, "GIT_PYTHON_GIT_EXECUTABLE": "git"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=workspace)
    assert done.returncode == 0
    assert not marker.exists()


@pytest.mark.parametrize("entry", [".", "", "bin", "./bin", "../project/bin", "{root}/bin"])
def test_entries_that_a_repository_fills_are_ignored(
    entry: str, workspace: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(workspace, marker)
    plant(workspace / "bin", marker)
    rest = os.environ["PATH"].partition(":")[2]
    monkeypatch.setenv("PATH", f"{entry.format(root=workspace)}:{rest}")
    assert find_program("git") not in (None, str(workspace / "git"), str(workspace / "bin/git"))
    assert str(workspace) not in search_path()
    assert all(os.path.isabs(folder) for folder in search_path().split(":"))


def test_links_and_writable_folders_are_not_followed(
    workspace: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    safe, shared, chained = tmp_path / "safe", tmp_path / "shared", tmp_path / "chained"
    plant(shared, marker)
    for folder in (safe, chained):
        folder.mkdir()
    (safe / "git").symlink_to(workspace / ".venv" / "bin" / "git")
    (workspace / "hop").symlink_to("/bin/sh")
    (chained / "git").symlink_to(workspace / "hop")
    (tmp_path / "linked").symlink_to(workspace / ".venv" / "bin")
    make_sandbox(
        workspace=workspace, enabled=False, network=False, writable=[str(shared)],
        state_dir=tmp_path / "state",
    )  # fmt: skip
    plant(tmp_path / "state" / "cache" / "bin", marker)
    for folder in (safe, chained, shared, tmp_path / "linked", tmp_path / "state/cache/bin"):
        monkeypatch.setenv("PATH", str(folder))
        assert find_program("git") is None, folder


def test_an_environment_above_a_nested_repository_is_not_trusted(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested = workspace / "vendor" / "x"
    (nested / ".git").mkdir(parents=True)
    monkeypatch.chdir(nested)
    assert find_program("git") != str(workspace / ".venv" / "bin" / "git")


def test_the_home_is_distrusted_as_a_workspace_only(
    tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path / ".cargo" / "bin", marker)
    (tmp_path / ".git").mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / ".cargo" / "bin"))
    for folder in (tmp_path, tmp_path / "project"):
        monkeypatch.chdir(folder)
        assert find_program("rg")
    programs.distrust(tmp_path)
    assert find_program("rg") is None


def test_in_the_root_directory_the_system_still_has_its_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "_distrusted", {"/"})
    assert find_program("sh")
    monkeypatch.setattr(programs, "_distrusted", {"/usr"})
    monkeypatch.setenv("PATH", "/usr/bin")
    assert find_program("env") is None


def test_the_users_editor_may_lie_anywhere_when_it_is_named_by_its_path(workspace: Path) -> None:
    own = workspace / ".venv" / "bin" / "bash"
    assert user_command(f"'{own}' --wait") == [str(own), "--wait"]
    assert user_command("env -i")[0] == find_program("env")
    for relative in (".venv/bin/bash", "./x", "no-such-editor", "'unclosed"):
        with pytest.raises(UsageError):
            user_command(relative)


# --- Python ---------------------------------------------------------------------------------------

HOSTILE = ("json.py", "typing.py", "httpx.py", "numpy.py", "sitecustomize.py", "encodings.py",
           "laguna_agent/__init__.py", "runpy.py", "pip/__init__.py", "re.py")  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path, marker: Path) -> Path:
    """A repository with modules that leave a marker when they are imported."""
    root = tmp_path / "hostile"
    for name in HOSTILE:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(marker)!r}, 'a').write({name!r})\n")
    return root


@pytest.mark.parametrize("path", [None, "", ":", ".", "{root}"])
def test_a_python_of_laguna_imports_nothing_of_the_working_directory(
    path: str | None, hostile: Path, marker: Path
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = path.format(root=hostile)
    command = python_command("laguna_agent.cli", "--version")
    done = subprocess.run(
        command, cwd=hostile, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == f"laguna {laguna_agent.__version__}\n", done.stderr
    assert not marker.exists(), marker.read_text()


@pytest.mark.parametrize(
    ("path", "folder"),
    [("", ""), (":/nowhere", ""), ("/nowhere:", ""), (".", ""), ("../hostile", ""), ("..", "sub"),
     ("{root}", ""), ("{root}", "sub")],
)  # fmt: skip
def test_the_command_drops_entries_of_the_repository_first(
    path: str, folder: str, hostile: Path, marker: Path, tmp_path: Path
) -> None:
    for name in ("sitecustomize.py", "encodings.py", "laguna_agent/__init__.py", "re.py"):
        (hostile / name).unlink()  # those come before any line of laguna
    (hostile / "laguna_agent").rmdir()
    (hostile / ".git").mkdir()
    (hostile / "sub").mkdir()
    own = os.pathsep.join(entry for entry in sys.path if os.path.isabs(entry))
    command = tmp_path / "bin" / "laguna"
    command.parent.mkdir()
    command.write_text(
        "from laguna_agent.cli import main\nmain(['--version'])\nimport httpx, numpy\n"
    )
    done = subprocess.run(
        [sys.executable, str(command)], cwd=hostile / folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{own}:{path.format(root=hostile)}"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not marker.exists()


def test_a_program_that_imports_the_package_keeps_its_own_modules(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("answer = 42\n")
    program = tmp_path / "program.py"
    program.write_text("import laguna_agent.cli, mine; print(mine.answer)\n")
    own = os.pathsep.join(entry for entry in sys.path if os.path.isabs(entry))
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": own}, check=False,
    )  # fmt: skip
    assert done.stdout == "42\n", done.stderr


def test_the_command_starts_in_a_directory_that_was_removed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "laguna_agent.cli", "--version"]
    own = os.pathsep.join(entry for entry in sys.path if os.path.isabs(entry))
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f'rmdir {gone}; exec "$@"', "-", *command], cwd=gone,
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": own}, check=False,
    )  # fmt: skip
    assert done.stdout == f"laguna {laguna_agent.__version__}\n", done.stderr


def test_the_installed_command_imports_nothing_of_the_working_directory(
    hostile: Path, marker: Path, tmp_path: Path
) -> None:
    venv = tmp_path / "it's a venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = next(venv.glob("lib/python3*/site-packages"))
    paths = [str(PACKAGE.parent), *(p for p in sys.path if os.path.isabs(p))]
    (packages / "here.pth").write_text("\n".join(paths))
    text = (PACKAGE.parent / "install.sh").read_text(encoding="utf-8")
    writing = re.search(r"^write_command\(\) \{.*?^\}", text, re.MULTILINE | re.DOTALL)
    assert writing is not None
    script = f"{writing[0]}\nwrite_command"
    subprocess.run(["/bin/sh", "-euc", script], check=True, env={**os.environ, "venv": str(venv)})
    done = subprocess.run(
        [str(venv / "bin" / "laguna"), "--version"], cwd=hostile, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f":.:{hostile}", "PYTHONHOME": str(hostile)}, check=False,
    )  # fmt: skip
    assert done.stdout == f"laguna {laguna_agent.__version__}\n", done.stderr
    assert not marker.exists()


# --- the only way ---------------------------------------------------------------------------------

SEARCHING = {"which", "system", "popen", "startfile", "execlp", "execvp", "execvpe", "execlpe",
             "spawnlp", "spawnvp", "posix_spawnp", "create_subprocess_shell"}  # fmt: skip
STARTING = {"run", "Popen", "check_output", "check_call", "call", "getoutput", "getstatusoutput",
            "create_subprocess_exec", "spawn", "execv", "execve", "posix_spawn"}  # fmt: skip


def _sources() -> list[Path]:
    files = [Path(d, n) for d, _, names in os.walk(PACKAGE, followlinks=True) for n in names]
    return sorted(f for f in files if f.suffix == ".py" and "demo-repository" not in f.parts)


def _objections(tree: ast.AST) -> list[str]:
    found = []
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    shown = {part for text in texts for part in ast.walk(text)}  # `{sys.executable} -m pip`
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node not in shown
            and ast.unparse(node) in ("sys.executable", "shutil.which", "os.get_exec_path")
        ):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.ImportFrom) and node.module in ("shutil", "subprocess", "os"):
            found += [f"{node.lineno}: {n.name}" for n in node.names if n.name in SEARCHING]
        elif isinstance(node, ast.keyword) and node.arg == "shell":
            found.append(f"{node.lineno}: shell=")
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            if owner in ("os", "shutil", "asyncio", "subprocess", "pexpect") and name in SEARCHING:
                found.append(f"{node.lineno}: {name}")
            if owner in ("os", "asyncio", "subprocess", "pexpect") and name in STARTING:
                found += _named(node)
    return found


def _named(call: ast.Call) -> list[str]:
    """The program, where a literal names it without its directory."""
    first = call.args[0] if call.args else None
    while isinstance(first, (ast.List, ast.Tuple, ast.Starred)):
        first = first.value if isinstance(first, ast.Starred) else (first.elts or [None])[0]
    if isinstance(first, ast.Constant) and not str(first.value).startswith("/"):
        return [f"{call.lineno}: {first.value}"]
    return []


def test_no_other_module_looks_for_programs() -> None:
    found = {
        str(path.relative_to(PACKAGE)): objections
        for path in _sources()
        if (objections := _objections(ast.parse(path.read_text(encoding="utf-8"))))
    }
    found.pop("programs.py")
    assert found == {}


@pytest.mark.parametrize(
    "code",
    ["shutil.which('x')", "from shutil import which", "subprocess.run(['git'])",
     "subprocess.Popen([*('git', '-C')])", "asyncio.create_subprocess_exec(*('bash', '-c'))",
     "subprocess.run('git', shell=True)", "os.system('x')", "os.execvp(a, b)",
     "subprocess.run([sys.executable, '-m', 'x'])", "pexpect.spawn('bash')"],
)  # fmt: skip
def test_the_check_of_the_source_finds_other_ways(code: str) -> None:
    assert _objections(ast.parse(code))
