"""What a `*` in a rule that allows lets through, and rules for names that look like patterns."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent.actions import ReadPath, RunCommand, WritePath
from laguna_agent.config import RuleConfig
from laguna_agent.policy.gate import Gate
from support.shell_runs import copied, run_gated, run_in_bash

Make = Callable[..., Gate]


def allow(**about: object) -> tuple[RuleConfig, ...]:
    return (RuleConfig.model_validate({"verdict": "allow", **about}),)


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("git log *", "git log --output=C"),
        ("git diff *", "git diff --output=C HEAD"),
        ("git diff *", "git diff --ext-diff"),
        ("git show *", "git show HEAD --output C"),
        ("git grep *", "git grep -O./x.sh foo"),
        ("git lo? *", "git log --output=C"),
        ("find *", "find . -maxdepth 0 -exec touch C ';'"),
        ("find . *", "find . -maxdepth 0 -fprint C"),
        ("find *", "find README.md -execdir touch C ';'"),
        ("rg *", "rg --pre=./x.sh foo ."),
        ("rg foo *", "rg foo . --pre ./x.sh"),
        ("/usr/bin/rg *", "/usr/bin/rg --pre=./x.sh foo ."),
        ("sort *", "sort -o C README.md"),
        ("sort *", "sort README.md --output=C"),
        ("sed *", "sed 'w C' README.md"),
        ("sed -n *", "sed -n '1e touch C' README.md"),
        ("awk *", "awk 'BEGIN { system(\"touch C\") }'"),
        ("uniq *", "uniq README.md C"),
        ("env *", "env touch C"),
        ("xargs *", "xargs -a README.md touch C"),
    ],
)
def test_a_star_lets_no_option_through_that_writes_or_runs(
    pattern: str, command: str, make_gate: Make, workspace: Path, tmp_path: Path
) -> None:
    (workspace / "README.md").write_text("foo\nchanged\n")
    subprocess.run(["git", "config", "diff.external", "./x.sh"], cwd=workspace, check=True)
    bare = copied(workspace, tmp_path / "bare")
    run_in_bash([command], bare)
    assert (bare / "C").exists(), "the attack does nothing"
    gate = make_gate("ask", rules=allow(command=pattern))
    decision = run_gated(gate, [command], workspace, approved=0)[0]
    assert decision.verdict == "ask"
    assert not (workspace / "C").exists()


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("git log *", "git log -3 --stat"),
        ("git diff *", "git diff HEAD~1 -- src"),
        ("git branch *", "git branch topic"),
        ("git stash *", "git stash pop"),
        ("find *", "find / -name x"),
        ("rg *", "rg foo /var/log"),
        ("cat *", "cat ../other/file"),
        ("pytest *", "pytest -q tests --lf"),
        ("make *", "make -j4 test"),
        ("npm run *", "npm run build -- --watch"),
        ("cargo test *", "cargo test -- --nocapture"),
        ("python3 -m pytest *", "python3 -m pytest -x"),
        ("docker compose *", "docker compose up -d"),
        ("tar *", "tar czf x.tgz src"),
        ("git commit *", "git commit -m message"),
    ],
)
def test_a_star_lets_through_what_it_says(pattern: str, command: str, make_gate: Make) -> None:
    gate = make_gate("ask", rules=allow(command=pattern))
    action = RunCommand(command=command, cwd=str(gate.workspace))
    assert gate.decide(action, tool="shell").verdict == "allow"


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("cat *", "cat .env"),
        ("cat *", "cat ./.e''nv"),
        ("git show *", "git show HEAD:.env"),
        ("git commit *", "git commit -F .env"),
        ("python3 *", "python3 show.py --file=.env"),
        ("cp *", "cp .env notes.txt"),
    ],
)
def test_a_star_names_no_secret_file(pattern: str, command: str, make_gate: Make) -> None:
    action = RunCommand(command=command, cwd=str(make_gate().workspace))
    gate = make_gate("ask", rules=allow(command=pattern))
    assert gate.decide(action, tool="shell").verdict == "ask"
    gate = make_gate("ask", rules=allow(command=command))
    assert gate.decide(action, tool="shell").verdict == "allow", "the rule itself names it"


@pytest.mark.parametrize("name", ["*", "**", "a*", "a?c", "[ab]", "a[", "[!a]", "x]", "[[x]"])
def test_always_for_a_name_like_a_pattern_covers_this_file_only(
    name: str, make_gate: Make, workspace: Path
) -> None:
    folder = workspace / "d"
    folder.mkdir()
    for other in (name, "a", "abc", "b", "a.py"):
        (folder / other).write_text("x\n")
    gate = make_gate("ask")
    action = WritePath(path=str(folder / name))
    rule = gate.suggest_rule(action, "write")
    assert rule is not None
    gate.rule_set.add(rule, "session")
    assert gate.decide(action, tool="write").verdict == "allow"
    for other in ("a", "abc", "b", "a.py"):
        assert gate.decide(WritePath(path=str(folder / other)), tool="write").verdict == "ask"
    assert gate.writable_paths() == []
    outside = ReadPath(path=str(workspace.parent / "repo-evil" / name))
    read_rule = gate.suggest_rule(outside, "read")
    assert read_rule is not None
    gate.rule_set.add(read_rule, "session")
    assert gate.decide(outside, tool="read").verdict == "allow"
    beside = ReadPath(path=str(workspace.parent / "repo-evil" / "f"))
    assert gate.decide(beside, tool="read").verdict == "ask"
