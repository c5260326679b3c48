"""Ordinary work is not hindered: everyday commands pass in auto, and do their work in the sandbox.

One shell in one sandbox runs all that need nothing but common programs; of the others (`~`) the
verdict counts. Those that fail inside say in a line what to do.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent import paths
from laguna_agent.actions import RunCommand
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.sandbox import make_sandbox
from laguna_agent.policy.sandbox_limits import limit_reached

# A line that begins with ~ is decided about and not run; ⏎ is a line break.
COMMANDS = r"""
pwd
ls -la
ls src/*.py
cat README.md
head -n 1 README.md | tr a-z A-Z
wc -l src/a.py README.md
find . -name '*.py' -not -path './.git/*'
find . -name '*.py' | xargs wc -l
find src -type f -exec grep -l foo {} +
grep -rn foo src
grep -c foo README.md
sed -n '1,2p' README.md
sed -i 's/bar/baz/' README.md
awk '{print $1}' README.md
sort README.md | uniq -c | sort -rn
cut -d: -f1 README.md
diff README.md README.md
diff -u README.md src/a.py || true
echo "$HOME $USER ${PWD}"
printf '%s\n' one two | paste -sd,
seq 3 | while read -r n; do echo "line $n"; done
for f in src/*.py; do wc -l "$f"; done
for i in 1 2 3; do echo "$i" >> numbers.txt; done
i=0; while [ $i -lt 3 ]; do i=$((i+1)); done; echo $i
if [ -f README.md ]; then echo yes; else echo no; fi
[[ -d src && ! -e missing ]] && echo ok
case "$PWD" in *repo*) echo in;; *) echo out;; esac
greet() { echo "hello $1"; }; greet you
set -o pipefail; true | cat
export DEBUG=1 && env | grep -q DEBUG
(cd src && ls)
cd src && ls && cd ..
mkdir -p new/deep && touch new/deep/file.txt
cp README.md new/copy.md
cp -r new new2
mv new/copy.md new/moved.md
rm -f new/moved.md
rm -rf new new2
rm -rf build dist __pycache__ .pytest_cache node_modules
mkdir -p build && cd build && touch x && rm -rf * && cd ..
ln -s README.md link.md && readlink link.md && rm link.md
chmod +x x.sh
cat > made.py <<'E'⏎print("made")⏎E
cat >> made.py <<E⏎# $((1+1))⏎E
tee made.txt <<< "text"
python3 made.py
python3 -c 'print(1+1)'
python3 - <<'E'⏎import json⏎print(json.dumps({"a": 1}))⏎E
python3 -m compileall -q src
python3 -m unittest -q test_sample
python3 -m json.tool data.json
python3 -m venv --without-pip .venv
.venv/bin/python -c 'print(1)'
~ python3 -m pytest -q
~ pytest -x tests/test_a.py -k 'foo and not bar'
~ pytest --env=prod.env
~ pytest --cov=src --cov-report=term-missing
~ pip install -r requirements.txt
~ pip install -e .
~ pip install -e '.[dev]' --no-build-isolation
~ pip freeze > requirements.txt
~ uv sync && uv run pytest
~ poetry install --no-root
~ tox -e py311
~ ruff check . --fix && ruff format .
~ mypy -p pkg
~ black src tests
~ pre-commit run --all-files
~ alembic upgrade head
~ python3 manage.py migrate --settings=prod.env
~ uvicorn app:app --env-file .env --port 8000 &
~ npm ci
~ npm install --save-dev vitest
~ npm test
~ npm run build -- --mode production
~ npx tsc --noEmit
~ npx prettier --write src
~ node --env-file=.env app.js
~ node -e "console.log(process.env.HOME)"
~ yarn install --frozen-lockfile
~ pnpm -r build
~ bun test
~ deno test --allow-read
~ cargo build --release
~ cargo test -- --nocapture
~ cargo clippy --all-targets -- -D warnings
~ cargo clean && cargo build
~ go build ./... && go vet ./...
~ go test ./... -run TestFoo -v
~ go mod tidy
~ mvn -q -DskipTests package
~ ./gradlew clean build
~ dotnet test
~ bundle exec rspec
~ composer install
~ make -j4 test
~ make clean && make
~ cmake -B build && cmake --build build
~ ctest --test-dir build --output-on-failure
~ docker build -t app .
~ docker compose --env-file .env up -d
~ docker compose down
~ docker run --rm -v "$PWD:/app" app pytest
~ kubectl get pods
~ terraform fmt && terraform validate
~ psql "$DATABASE_URL" -c 'select 1'
~ redis-cli ping
make greet
gcc -Wall -o prog prog.c && ./prog
git status
git status --short --branch
git diff
git diff --stat HEAD
git log --oneline -5
git show --stat HEAD
git blame README.md
git add -A
git add src README.md
git commit -q -m "work"
git commit -q --amend --no-edit
git commit -q --allow-empty -m "empty"
git -c user.email=a@example.org -c user.name=a commit -q --allow-empty -m "other author"
git checkout -q -b topic
git switch -q main
git branch -d topic
git merge -q --no-edit main
git rebase -q main
git cherry-pick --abort || true
git revert --no-edit HEAD || true
git stash && git stash list
git tag v1
git restore README.md
git checkout -- src/a.py
git reset -q HEAD
git rm -q --cached .env.example
git mv README.md DOCS.md && git mv DOCS.md README.md
git clean -n -d
git clean -fdq scratch
git worktree add -q .worktrees/w && git worktree remove .worktrees/w
git rev-parse --show-toplevel
git config --get user.name
git ls-files | wc -l
git grep -n foo
git init -q sub && git -C sub status
~ git pull --rebase
~ git fetch origin
~ git push -u origin topic
~ git clone https://example.org/x.git
~ git submodule update --init
~ gh pr list
cp .env.example .env.copy
touch .env.test
test -f .env.example && echo there
grep -n KEY .env.example
echo 'KEY=1' >> .env.test
ls .env*
tar czf x.tgz src && tar tzf x.tgz && tar xzf x.tgz
base64 README.md > r.b64 && base64 -d r.b64 > r.txt
sha256sum README.md
date +%Y && id -u && uname -s && whoami
ps aux | head -2
df -h . && du -sh src
which python3 && command -v git && type ls
time true
timeout 5 echo in time
sleep 0 & wait
echo one; echo two >&2
echo out 2>&1 | cat
ls missing 2>/dev/null || echo none
true && echo yes || echo no
trap 'true' EXIT
xargs -n1 echo < README.md
find . -name '*.tmp' -delete
find . -name __pycache__ -type d -exec rm -rf {} +
t=$(mktemp) && echo x > "$t" && cat "$t" && rm "$t"
d=$(mktemp -d) && (cd "$d" && touch a) && rm -rf "$d"
echo x > /tmp/everyday && rm /tmp/everyday
{server}
curl -s -m 1 http://localhost:1/ || true
jq . data.json || true
history | tail -1
jobs
umask
ulimit -n
"""

SERVER = (
    "python3 -m http.server 8765 --bind 127.0.0.1 > /dev/null 2>&1 & p=$!; "
    "for i in 1 2 3 4 5 6 7 8 9; do python3 -c 'import urllib.request as u; "
    'u.urlopen("http://127.0.0.1:8765")\' 2> /dev/null && break; done; r=$?; kill $p; (exit $r)'
)
FAILING = {
    "git config user.email a@example.org": "settings and hooks",
    "git remote add origin https://example.org/x.git": "settings and hooks",
    "git branch other && git branch -m other renamed": "settings and hooks",
    "touch ~/file": "policy.writable",
    "python3 -c 'import urllib.request as u; u.urlopen(\"http://example.org\")'": "no network",
}


@pytest.fixture
def project(workspace: Path) -> Path:
    files = {
        ".env.example": "KEY=\n",
        "data.json": '{"a": 1}\n',
        "Makefile": "greet:\n\techo hello\n",
        "prog.c": "int main(void) { return 0; }\n",
        "test_sample.py": "import unittest\nclass T(unittest.TestCase):\n def test(self): pass\n",
    }
    for name, text in files.items():
        (workspace / name).write_text(text)
    git = ["git", "-C", str(workspace)]
    for words in (["rm", "-q", "--cached", ".env"], ["add", "-A"], ["commit", "-qm", "more"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return workspace


def everyday() -> list[str]:
    text = COMMANDS.strip().replace("{server}", SERVER)
    return [line.replace("⏎", "\n") for line in text.split("\n")]


def test_everyday_commands_pass_in_auto(make_gate: Callable[..., Gate], project: Path) -> None:
    lines = [line.removeprefix("~ ") for line in everyday()]
    assert len(lines) >= 150
    gate = make_gate("auto", sandboxed=True)
    asked = []
    for line in lines:
        decision = gate.decide(RunCommand(command=line, cwd=str(project)), tool="shell")
        if decision.verdict != "allow":
            asked.append((line, decision.reason))
    assert asked == []


def test_everyday_commands_do_their_work_in_the_sandbox(
    make_gate: Callable[..., Gate], project: Path
) -> None:
    sandbox = make_sandbox(
        workspace=project,
        enabled=True,
        network=False,
        writable=[],
        state_dir=paths.state_dir() / "repo",
        secrets=make_gate("auto", sandboxed=True).hidden_secrets,
    ).sandbox
    lines = [line for line in everyday() if not line.startswith("~")]
    script = ["exec 3>&1 1>/dev/null"]
    for number, line in enumerate([*lines, *FAILING]):
        command = line.replace("'", "'\\''")
        script.append(f"cd {project}; out=$(set +o pipefail; eval '{command}' 2>&1 3>&-); r=$?")
        script.append(f'printf "%s %s\\n%s\\n\\0" {number} $r "$out" >&3')
    done = subprocess.run(
        sandbox.wrap(["bash", "--norc", "--noprofile"], cwd=project),
        input="\n".join(script),
        env=sandbox.environment(),
        cwd=project,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    results = {}
    for part in done.stdout.split("\0")[:-1]:
        head, _, output = part.lstrip("\n").partition("\n")
        number, code = map(int, head.split())
        results[number] = code, output
    assert len(results) == len(lines) + len(FAILING), done.stderr
    failed = [(line, *results[n]) for n, line in enumerate(lines) if results[n][0]]
    assert failed == []
    for number, (line, hint) in enumerate(FAILING.items(), start=len(lines)):
        code, output = results[number]
        assert code, line
        assert hint in limit_reached(output, ok=False, network=False), (line, output)
