"""Generated shell scripts, really run: commands allowed without asking change nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laguna_agent import paths
from laguna_agent.actions import RunCommand
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.sandbox import make_sandbox
from support.shell_runs import run_in_bash

WORDS = st.sampled_from(
    [
        "ls",
        "cat",
        "rg",
        "grep",
        "find",
        "sed",
        "awk",
        "sort",
        "uniq",
        "head",
        "tail",
        "wc",
        "echo",
        "printf",
        "cd",
        "test",
        "[",
        "]",
        "git",
        "log",
        "status",
        "diff",
        "show",
        "env",
        "command",
        "time",
        "timeout",
        "5",
        "xargs",
        "tee",
        "touch",
        "C",
        "../C",
        "../out/C",
        "src",
        "README.md",
        "*.md",
        "*.sh",
        ".",
        "..",
        "~",
        "-n",
        "-e",
        "-i",
        "-o",
        "-f",
        "-p",
        "-r",
        "-w",
        "-v",
        "-l",
        "-x",
        "-exec",
        "-delete",
        "-ok",
        "{}",
        "\\;",
        "+",
        "--",
        "-",
        "--pre=./x.sh",
        "--pre",
        "./x.sh",
        "--output=C",
        "--output",
        "-O./x.sh",
        "-oC",
        "-c",
        "-C",
        "p",
        "'w C'",
        "'s/foo/x/w C'",
        "'s/foo/touch C/e'",
        "'{print > \"C\"}'",
        "'BEGIN{system(\"touch C\")}'",
        "foo",
        "'a b'",
        '"a b"',
        '"$(touch C)"',
        "`touch C`",
        "$(touch C)",
        "<(touch C)",
        "$x",
        "${x:=C}",
        "{a,b}",
        "A=1",
        "PATH=.:$PATH",
        "HEAD",
        "HEAD:README.md",
        "''",
        '""',
        "a\\ b",
        "to\\\nuch",
        "$'C'",
        "\\touch",
        "!",
        "ls(){ touch C;}",
        "{touch,C}",
        "[[",
        "]]",
        "-eq",
        "'a[$(touch C)]'",
        "export",
        "alias",
        "ls=touch",
        "eval",
        "exec",
        "source",
        "set",
        "hash",
        "jobs",
        "1",
        "=",
    ]
)
GLUE = st.sampled_from(
    [" "] * 12
    + ["; ", " && ", " || ", " | ", " & ", "\n", " |& ", "", "\t", " \\\n", "\\\n", " #", "\r"]
    + [" > ", " >> ", " 2>&1 ", " > /dev/null ", " < ", " >| ", " &> ", " 3> ", " <<< ", " >& "]
    + [" ( ", " ) ", " { ", "; } ", "'", '"', "`", "$(", ")"]
)
SCRIPTS = st.lists(st.tuples(WORDS, GLUE), min_size=1, max_size=8).map(
    lambda parts: "".join(word + glue for word, glue in parts)
)
SESSIONS = st.lists(SCRIPTS, min_size=1, max_size=3)


def state(*roots: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
        for root in roots
        for path in root.rglob("*")
        # Looking at a repository refreshes its index.
        if path.name != "index"
    }


@pytest.mark.slow
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(session=SESSIONS)
def test_commands_allowed_without_asking_change_nothing(
    session: list[str], workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    gate = make_gate("ask")
    before = state(workspace.parent)
    passed = []
    for script in session:
        action = RunCommand(command=script, cwd=str(workspace))
        if gate.decide(action, tool="shell").verdict == "allow":
            passed.append(script)
            gate.command_ran(script)
    if passed:
        run_in_bash(passed, workspace)
    assert state(workspace.parent) == before, passed


READERS = [
    "ls -la src",
    "rg -n foo .",
    "grep -rn foo src",
    "find . -name '*.py' -type f",
    "sed -n '1,2p' README.md",
    "sort -u README.md",
    "git log --oneline -3",
    "git diff HEAD",
    "git grep -n foo",
    "awk '{print $1}' README.md",
    "head -n 2 README.md",
    "cat README.md",
    "uniq README.md",
    "tar tf a.tar",
]
PIECES = [
    "--pre=./x.sh",
    "--pre",
    "./x.sh",
    "-exec",
    "touch",
    "C",
    "{}",
    "';'",
    "-delete",
    "-fprint",
    "-o",
    "-oC",
    "--output=C",
    "-i",
    "-w",
    "-e",
    "'w C'",
    "-f",
    "-O./x.sh",
    "-nO./x.sh",
    "-c",
    "core.fsmonitor=./x.sh",
    "--ext-diff",
    "-ok",
    "--compress-program=./x.sh",
    "-T",
    "-S",
    "1k",
    "-I",
    "--to-command=./x.sh",
    "--checkpoint=1",
    "--checkpoint-action=exec=./x.sh",
    "-z",
    "-P",
    "-h",
    "*",
    "*.sh",
    "--",
]


@pytest.mark.slow
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    reader=st.sampled_from(READERS),
    pieces=st.lists(st.tuples(st.sampled_from(PIECES), st.integers(0, 5)), max_size=4),
)
def test_read_only_commands_with_any_options_change_nothing_without_asking(
    reader: str,
    pieces: list[tuple[str, int]],
    workspace: Path,
    make_gate: Callable[..., Gate],
) -> None:
    words = reader.split(" ")
    for piece, place in pieces:
        words.insert(min(1 + place, len(words)), piece)
    command = " ".join(words)
    before = state(workspace.parent)
    action = RunCommand(command=command, cwd=str(workspace))
    if make_gate("ask").decide(action, tool="shell").verdict == "allow":
        run_in_bash([command], workspace)
        assert state(workspace.parent) == before, command


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(session=SESSIONS)
def test_in_the_sandbox_nothing_outside_the_workspace_changes(
    session: list[str], workspace: Path, home: Path, tmp_path: Path
) -> None:
    """`auto` passes everything, so the sandbox alone must hold."""
    choice = make_sandbox(
        workspace=workspace,
        enabled=True,
        network=False,
        writable=[],
        state_dir=paths.state_dir() / "repo",
    )
    assert choice.confined
    guarded = [home, workspace.parent / "repo-evil", workspace / ".git" / "hooks"]
    before = state(*guarded), (workspace / ".git" / "config").read_bytes()
    outside = home / "C"
    script = "\n".join(session).replace("../C", str(outside)).replace("../out/C", str(outside))
    subprocess.run(
        choice.sandbox.wrap(["bash", "-c", script], cwd=workspace),
        env=choice.sandbox.environment(),
        cwd=workspace,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (state(*guarded), (workspace / ".git" / "config").read_bytes()) == before


def test_the_generator_can_leave_a_canary(workspace: Path) -> None:
    before = state(workspace.parent)
    run_in_bash(["ls && touch ../C"], workspace)
    assert state(workspace.parent) != before
