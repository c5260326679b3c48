"""Everyday commands do not ask in the sandbox, and never ask if they only read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent.actions import RunCommand
from laguna_agent.policy.gate import Gate

READING = r"""
ls
ls -la
ls -la src
ls src/*.py
pwd
cat README.md
cat src/a.py | head -50
head -n 20 README.md
tail -n 40 README.md
tail -5 README.md
wc -l src/a.py README.md
wc -l *.md
file README.md
stat README.md
du -sh .
df -h .
tree -L 2
find . -name '*.py'
find . -type f -name "*.md" -not -path './.git/*'
find src -maxdepth 2 -type d
find . -name '*.py' | wc -l
find . -mtime -1 -type f
rg foo
rg -n foo src
rg -l "def main"
rg -i 'error|warning' -g '*.py'
rg -n -C 3 "import os" --type py
rg --files
rg --files -g '*.md' | head
rg "foo$" src | sort | uniq -c | sort -rn | head -20
grep -rn foo src
grep -rn --include='*.py' "def " .
grep -c foo README.md
grep -v '^#' README.md
cd src && rg -n foo | head
cd src && ls && cd .. && ls
sed -n '1,40p' README.md
sed -n 10,20p src/a.py
sed 's/foo/bar/g' README.md
awk '{print $1}' README.md
awk -F: '{print $1, $3}' README.md
sort README.md
sort -u README.md | wc -l
cut -d: -f1 README.md
tr a-z A-Z < README.md
diff README.md src/a.py
diff -u README.md src/a.py
cmp README.md src/a.py
md5sum README.md
sha256sum README.md src/a.py
basename src/a.py .py
dirname src/a.py
realpath src
echo done
echo "a: $"
printf '%s\n' one two
true && echo yes || echo no
test -f README.md && echo there
[ -d src ] && ls src
seq 1 10
date
date -u +%Y-%m-%d
whoami
id
uname -a
hostname
nproc
uptime
which python3
which -a git
command -v rg
type ls
env
printenv PATH
ps aux
ps -ef | grep python
free -m
git status
git status -sb
git status --porcelain
git log --oneline -10
git log -3 --stat
git log --oneline --graph --all -n 20
git log -p -1 -- README.md
git log --author=t --since=yesterday --format='%h %an %s'
git diff
git diff --stat
git diff --cached
git diff HEAD~0 -- src/a.py
git diff --name-only HEAD
git show HEAD
git show --stat HEAD
git show HEAD:README.md
git blame README.md
git blame -L 1,2 README.md
git branch
git branch -a
git branch --show-current
git branch -vv
git tag -l
git tag --list 'v*'
git remote -v
git remote get-url origin
git stash list
git rev-parse HEAD
git rev-parse --show-toplevel
git rev-parse --abbrev-ref HEAD
git ls-files
git ls-files | wc -l
git ls-tree -r HEAD --name-only
git grep -n foo
git describe --tags --always
git shortlog -sn HEAD
git reflog -5
git config --get user.name
git config --list
git cat-file -p HEAD
git rev-list --count HEAD
git worktree list
git --no-pager log -2
git -C src status --short
cat README.md 2>/dev/null
ls missing 2>&1 | head -1
ls -1 | xargs
jq -r '.name' package.json
timeout 5 ls -R src
time ls
gcc --version
make --version
python3 --version
bash --version | head -1
git --version
cat /etc/os-release
ls /usr/lib
for f in *.md; do wc -l $f; done
for f in src/*.py; do echo "== $f"; head -3 "$f"; done
for f in README.md src/a.py; do wc -l "$f"; done | sort -n
for d in src; do ls $d; done
for i in 1 2 3; do echo $i; done
find . -name '*.py' | xargs wc -l
find . -name '*.py' -print0 | xargs -0 grep -n foo
find src -type f | xargs head -5
find . -name '*.md' | xargs -n1 basename
git ls-files | xargs wc -l | tail -1
rg -l foo | xargs wc -l
ls src | xargs -n 1 echo
echo $HOME
echo "$PWD and ${HOME}"
echo $?
printf '%s\n' "$PATH"
if [ -f README.md ]; then cat README.md; else echo none; fi
if grep -q foo README.md; then echo yes; fi
if [ -d src ]; then ls src; elif [ -d lib ]; then ls lib; fi
test -f .env && echo there
ls -la .env
git check-ignore .env
"""

WORKING = r"""
python3 -m pytest -q
pytest -x tests/test_a.py -k 'foo and not bar'
python3 src/a.py
python3 -c "print(1)"
python3 -m compileall -q src
python3 -m venv .venv
pip install -e .
ruff check . --fix
ruff format .
mypy -p pkg
make
make -j4 test
make clean && make
cmake -B build && cmake --build build
cargo build --release
cargo test -- --nocapture
cargo clippy -- -D warnings
go build ./...
go test ./... -run TestFoo -v
npm test
npm run build
npx tsc --noEmit
node index.js
yarn test
gcc -Wall -o m m.c && ./m
git add -A && git commit -m "change"
git checkout -b topic
git switch main
git stash
git rebase main
git reset HEAD~1
git merge topic
mkdir -p src/new && touch src/new/__init__.py
mv src/a.py src/b.py
cp README.md docs.md
rm -rf build
chmod +x x.sh
sed -i 's/foo/bar/' README.md
for f in src/*.py; do touch "$f"; done
export DEBUG=1; pytest -q
cat > new.py <<'E'
print(1)
E
tar xzf archive.tgz
pre-commit run --all-files
"""


def lines(text: str) -> list[str]:
    commands: list[str] = []
    for line in text.strip().split("\n"):
        open_document = (
            bool(commands) and "<<'E'" in commands[-1] and not commands[-1].endswith("\nE")
        )
        if open_document:
            commands[-1] += "\n" + line
        else:
            commands.append(line)
    return commands


ALL = lines(READING) + lines(WORKING)


def test_in_auto_with_a_sandbox_ordinary_commands_do_not_ask(
    make_gate: Callable[..., Gate], workspace: Path
) -> None:
    gate = make_gate("auto", sandboxed=True)
    asked = []
    for command in ALL:
        decision = gate.decide(RunCommand(command=command, cwd=str(workspace)), tool="shell")
        if decision.verdict != "allow":
            asked.append((command, decision.reason))
        gate.command_ran(command)
    assert asked == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ask", "accept-edits", "auto"])
def test_read_only_commands_do_not_ask_without_a_sandbox(
    mode: str, make_gate: Callable[..., Gate], workspace: Path
) -> None:
    subprocess.run(["git", "rm", "-q", "--cached", ".env"], cwd=workspace, check=True)
    gate = make_gate(mode, search_path="/usr/local/bin:/usr/bin:/bin")
    asked = []
    for command in lines(READING):
        decision = gate.decide(RunCommand(command=command, cwd=str(workspace)), tool="shell")
        if decision.verdict != "allow":
            asked.append((command, decision.reason))
        gate.command_ran(command)
    assert asked == []


def test_an_odd_name_that_is_not_listed_does_not_matter(
    make_gate: Callable[..., Gate], workspace: Path
) -> None:
    (workspace / "odd name.txt").touch()
    gate = make_gate("ask")
    for command, verdict in (
        ("find . -name '*.py' | xargs wc -l", "allow"),
        ("find . -name '*.txt' | xargs wc -l", "ask"),
        ("find . -name '*.txt' -print0 | xargs -0 wc -l", "allow"),
    ):
        action = RunCommand(command=command, cwd=str(workspace))
        assert gate.decide(action, tool="shell").verdict == verdict


@pytest.mark.parametrize("command", lines(WORKING))
def test_commands_that_change_something_ask_without_a_sandbox(
    command: str, make_gate: Callable[..., Gate], workspace: Path
) -> None:
    for mode in ("ask", "accept-edits", "auto"):
        decision = make_gate(mode).decide(
            RunCommand(command=command, cwd=str(workspace)), tool="shell"
        )
        assert decision.verdict == "ask"
