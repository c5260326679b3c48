"""In auto, a command whose loss no undo makes good asks; cleaning up what a build made does not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent.actions import GitWrite, RunCommand
from laguna_agent.config import RuleConfig
from laguna_agent.policy.gate import Gate
from support.shell_runs import copied, run_in_bash

IGNORED = (
    "data/\n*.db\nbuild/\nnode_modules/\n__pycache__/\n*.pyc\n.venv\ndist\n.env.local\n"
    "mixed/*.csv\n*.log\nsecret.txt\n"
)


@pytest.fixture
def project(workspace: Path) -> Path:
    """A repository with ignored data, a build, and a repository of its own below."""
    (workspace / ".gitignore").write_text(IGNORED)
    for name in (
        "data/a.csv", "app.db", "build/m.o", "node_modules/x/i.js", "src/__pycache__/a.pyc",
        ".venv/bin/python", "dist/a.whl", ".env.local", "mixed/a.csv", "mixed/a.py", "app.log",
        "docs/notes.md", "secret.txt",
    ):  # fmt: skip
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text("x\n")
    subprocess.run(["git", "init", "-q", str(workspace / "vendor" / "lib")], check=True)
    return workspace


LOSES = r"""
rm -rf .git
rm -fr ./.git
rm -r -f -- .git/
\rm -rf .git
/bin/rm -rf .git
rm -rf ../repo/.git
rm -rf src/../.git
rm .git/HEAD
rm -rf .git/refs .git/logs
rm -rf .
rm -rf ../repo
rm -rf .g*
rm -rf {build,.git}
rm -rf $PWD/x .git
x=.git; rm -rf $x
d=data; rm -rf "$d"
for f in build .git; do rm -rf "$f"; done
cd src && rm -rf ../.git
cd src; cd ..; rm -rf .git
(cd src && rm -rf ../data)
sudo rm -rf .git
env rm -rf .git
env -S 'rm -rf .git'
timeout 5 rm -rf .git
nice -n 5 bash -c 'rm -rf .git'
bash -c "cd src; rm -rf ../.git"
sh -c 'sh -c "rm -rf .git"'
eval 'rm -rf .git'
echo rm -rf .git | sh
echo 'rm -rf data' | bash -x
bash <<< 'rm -rf .git'
bash <<'E'
rm -rf .git
E
if true; then rm -rf .git; fi
true || rm -rf .git
f() { rm -rf .git; }; f
echo .git | xargs rm -rf
ls | xargs rm -rf
find . -name HEAD | xargs rm
find . -delete
find . -mtime +30 -delete
find data -type f -delete
find . -name '*.db' -delete
find .git -name '*' -exec rm {} +
find . -maxdepth 1 -name .git -exec rm -rf {} \;
find . -not -name x.sh -delete
mv .git /tmp/g
mv .git .git.old
mv .git/refs x
mv data /tmp/
rm -rf $PWD/.git
rm -rf "$(pwd)/.git"
xargs rm -rf <<< .git
cp /dev/null .git/HEAD
rsync -a --delete empty/ ./
python3 -c "import shutil; shutil.rmtree('.git')"
python3 -c "import os; os.system('rm -rf data')"
node -e "require('fs').rmSync('.git', {recursive: true})"
unlink app.db
shred -u app.db
truncate -s 0 app.db
rm -rf data
rm -rf data/
rm -rf data/*
rm data/a.csv
rm *.db
rm -rf *
rm -rf mixed
rm -rf vendor
rm -rf vendor/lib
rm secret.txt
echo x > .git/HEAD
: > .git/refs/heads/main
git reset --hard
git reset --hard HEAD~1
git reset -q --hard origin/main
git -C . reset --hard
git -c core.abbrev=9 reset --hard
/usr/bin/git reset --hard
git clean -fdx
git clean -xdf
git clean -f -d -X
git clean -ffdx .
git gc --prune=now
git gc --aggressive --prune=all
git -c gc.pruneExpire=now gc
git prune
git reflog expire --expire=now --all
git reflog delete main@{1}
git branch -D topic
git branch -d -f topic
git branch --delete --force topic
git branch -M topic
git tag -d v1
git tag -f v1
git push --force
git push -f origin main
git push origin +main
git push origin :topic
git push --force-with-lease
git push --mirror
git push origin --delete topic
git update-ref -d refs/heads/main
git stash drop
git stash clear
git worktree remove --force ../w
git filter-branch --all
git -c alias.x='reset --hard' x
"""

KEEPS = r"""
rm -rf build
rm -rf build dist node_modules __pycache__ .venv .pytest_cache .mypy_cache
rm -rf ./build/*
rm -f src/__pycache__/*.pyc
rm README.md
rm -rf src
rm -rf docs
rm -f missing
rm -rf missing/data
rm app.log
rm -f .git/index.lock
rm -rf "$TMPDIR/x"
t=$(mktemp -d); rm -rf "$t"
rm -rf /tmp/x
cd /tmp && rm -rf *
cd build && rm -rf *
mkdir -p build && cd build && rm -rf *
(cd build && rm -rf *) && ls
cd build; make; rm -rf *
find . -name '*.pyc' -delete
find . -name __pycache__ -type d -exec rm -rf {} +
find . -name '*.pyc' | xargs rm -f
find . -type d -empty -delete
find build -delete
git ls-files -z | xargs -0 rm
mv README.md docs.md
mv data data2
mv src lib
git reset
git reset HEAD~1
git reset --soft HEAD~1
git reset README.md
git clean -n -fdx
git clean -nxd
git clean -fd
git clean -fdx build
git gc
git gc --prune=2.weeks.ago
git branch -d topic
git branch topic
git branch -f topic
git branch -m topic2
git tag v1
git push
git push origin main
git push -u origin main
git push --dry-run --force
git reflog
git stash
git stash pop
git checkout -- README.md
git restore .
git rebase main
git commit --amend -m x
git worktree remove w
git merge --abort
git -C /tmp/other reset --hard
echo 'rm -rf .git'
echo "git reset --hard" >> notes.md
grep -rn 'rm -rf .git' src
git log --grep='reset --hard'
echo x >> .git/info/exclude
make clean
cp .git/config config.txt
rsync -a src/ copy/
python3 -c "import shutil; shutil.rmtree('build')"
python3 -c "print('git reset --hard')"
cat <<'E' > clean.sh
rm -rf .git
E
"""


def commands(text: str) -> list[str]:
    found: list[str] = []
    for line in text.strip().split("\n"):
        if found and "<<'E'" in found[-1] and not found[-1].endswith("\nE"):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found


def test_what_cannot_be_undone_asks_and_says_why(
    make_gate: Callable[..., Gate], project: Path
) -> None:
    gate = make_gate("auto", sandboxed=True)
    for command in commands(LOSES):
        decision = gate.decide(RunCommand(command=command, cwd=str(project)), tool="shell")
        assert (decision.verdict, decision.rule) == ("ask", "built-in: undo"), command
        assert "undo" in decision.reason


def test_what_can_be_undone_or_made_again_does_not_ask(
    make_gate: Callable[..., Gate], project: Path
) -> None:
    gate = make_gate("auto", sandboxed=True)
    for command in commands(KEEPS):
        decision = gate.decide(RunCommand(command=command, cwd=str(project)), tool="shell")
        assert decision.verdict == "allow", (command, decision.reason)


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf .git",
        "bash -c 'cd src; rm -rf ../.git'",
        "echo rm -rf data | sh",
        "git clean -fdx",
        "git -C . branch -D topic",
        "find . -name '*.db' -delete",
        'for f in build data; do rm -rf "$f"; done',
        "mv .git /tmp/$RANDOM.git",
    ],
)
def test_the_commands_that_ask_do_lose_something(
    command: str, make_gate: Callable[..., Gate], project: Path, tmp_path: Path
) -> None:
    subprocess.run(["git", "branch", "topic"], cwd=project, check=True)
    bare = copied(project, tmp_path / "bare")
    kept = [bare / ".git/refs/heads/topic", bare / "data/a.csv", bare / "app.db"]
    assert all(path.exists() for path in kept)
    run_in_bash([command], bare)
    assert not all(path.exists() for path in kept)
    gate = make_gate("auto", sandboxed=True)
    assert gate.decide(RunCommand(command=command, cwd=str(project)), tool="shell").verdict == "ask"


def test_a_rule_of_the_person_allows_it(make_gate: Callable[..., Gate], project: Path) -> None:
    rule = RuleConfig(verdict="allow", command="git clean *")
    gate = make_gate("auto", sandboxed=True, rules=(rule,))
    action = RunCommand(command="git clean -fdx", cwd=str(project))
    assert gate.decide(action, tool="shell").verdict == "allow"


def test_dropping_a_stash_with_the_git_tool_asks_too(make_gate: Callable[..., Gate]) -> None:
    gate = make_gate("auto", sandboxed=True)
    drop = GitWrite(operation="stash", detail="drop stash@{0}")
    assert gate.decide(drop, tool="git").verdict == "ask"
    assert gate.decide(GitWrite(operation="stash", detail="push"), tool="git").verdict == "allow"


def test_what_git_tracks_or_a_build_makes_is_no_loss(
    make_gate: Callable[..., Gate], project: Path
) -> None:
    subprocess.run(["git", "add", "-f", "data"], cwd=project, check=True)
    gate = make_gate("auto", sandboxed=True)
    action = RunCommand(command="rm -rf data", cwd=str(project))
    assert gate.decide(action, tool="shell").verdict == "allow"
