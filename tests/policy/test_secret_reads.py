"""One rule by path for secrets: what shows one asks, what only names or writes one does not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent import paths
from laguna_agent.actions import ReadPath, RunCommand
from laguna_agent.config import RuleConfig
from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.sandbox import make_sandbox
from support.shell_runs import run_in_bash

Make = Callable[..., Gate]

SHOWS = r"""
cat .env
cat ./.e''nv
cat $PWD/.env
cat "$(pwd)/.env"
xargs cat <<< .env
printf '.env\n' | xargs cat
awk 'BEGIN { while ((getline l < ".env") > 0) print l }'
git hash-object -w .env
curl file://$PWD/.env
cat < .env
cat .e*
cat .en?
cat .[e]nv
head -5 .env README.md
grep SECRET .env
grep -f .env README.md
sed -n p .env
sed s/a/b/ .env
awk 1 .env
sort .env -o out.txt
diff .env .env.example
comm .env .env.example
base64 .env
xxd .env
tac link
cat a/link2
bat .env
less .env
vim -es .env
cp .env notes.txt
cp .env /tmp/copy-of-a-secret
mv .env notes.txt
install -m 644 .env notes.txt
tar czf x.tgz .env
zip x.zip .env
gzip -c .env
openssl enc -base64 -in .env
curl -d @.env http://localhost
curl --data-binary @.env http://localhost
curl -F f=@.env http://localhost
curl -T .env http://localhost
nc localhost 1 < .env
dd if=.env of=x
xargs -a .env echo
echo .env | xargs cat
find . -name .env -exec cat {} \;
find . -name '.env*' | xargs cat
source .env
. ./.env
set -a; . .env; set +a
export $(grep -v '^#' .env | xargs)
env $(cat .env | xargs) make
while read -r line; do echo "$line"; done < .env
mapfile -t x < .env
for f in .env; do cat "$f"; done
f=.env; cat $f
cat .{env,envrc}
bash -c 'cat .env'
timeout 5 cat .env
sudo cat .env
python3 -c 'print(open(".env").read())'
node -e "console.log(require('fs').readFileSync('.env','utf8'))"
perl -ne print .env
ruby -e 'puts File.read(".env")'
python3 dump.py .env
mytool .env
git diff .env
git diff --no-index /dev/null .env
git blame .env
git show HEAD:.env
git show HEAD:./.env
git show :.env
git grep KEY -- .env
git log -p -- .env
git cat-file -p HEAD:.env
git archive HEAD .env
cat config/master.key
cat certs/server.pem
cat .npmrc
cat .aws/credentials
cat deploy/id_rsa
jq . secrets.json
"""

SHOWS_NOTHING = r"""
cp .env.example .env
cp -n .env.example .env
cp .env .env.backup
mv .env.old .env
touch .env.test
touch .env
test -f .env
test -f .env && echo yes
[ -f .env ] || cp .env.example .env
[ -e .env ]
ls -la .env
ls .env*
stat .env
wc -l .env
du .env
file .env
find . -name .env
find . -name '.env*' -type f
realpath .env
basename .env
chmod 600 .env
rm -f .env.test
echo "KEY=1" >> .env.test
echo KEY=1 > .env.local
printf 'A=1\n' > .env
echo .env >> .gitignore
echo "see .env"
grep -n .env .gitignore
rg -n '\.env' README.md
sed -i 's/A/B/' .env.test
tee .env.test
cat > .env.test <<'E'
A=1
E
cat .env.example
cat .env.sample
diff .env.example .env.template
pytest --env=prod.env
pytest --env-file .env
docker compose --env-file .env up
docker compose --env-file=.env up -d
docker run --env-file .env image
node --env-file=.env app.js
npx dotenv -e .env -- npm test
uvicorn app:app --env-file .env
flask --env-file .env run
honcho -e .env start
make .env
make ENV=.env up
git add .env.example
git check-ignore .env
git check-ignore -v .env
git ls-files .env
git status .env
git rm --cached .env
git log --oneline -- .env
git diff --stat
git diff README.md
python3 manage.py runserver --settings=prod.env
python3 -c 'import os; print(os.environ.get("HOME"))'
node -e "console.log(process.env.HOME)"
ssh-keygen -y
openssl version
cat keys.py
cat tests/test_rsa.py
cat package-lock.json
ls ~/.npmrc.example
"""


def commands(text: str) -> list[str]:
    found: list[str] = []
    for line in text.strip().split("\n"):
        if found and "<<'E'" in found[-1] and not found[-1].endswith("\nE"):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found


@pytest.fixture
def project(workspace: Path) -> Path:
    for name in (
        ".env.example", ".env.template", ".env.sample", ".env.old", "config/master.key",
        "certs/server.pem", ".npmrc", ".aws/credentials", "deploy/id_rsa", "secrets.json",
        "keys.py", "tests/test_rsa.py", "package-lock.json", "dump.py",
    ):  # fmt: skip
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text("x\n")
    (workspace / "link").symlink_to(".env")
    (workspace / "a").mkdir()
    (workspace / "a" / "link2").symlink_to("../link")
    (workspace / ".gitignore").write_text(".env\n")
    return workspace


def verdict(gate: Gate, command: str) -> tuple[str, str]:
    action = RunCommand(command=command, cwd=str(gate.workspace))
    decision = gate.decide(action, tool="shell")
    return decision.verdict, decision.reason


def test_in_auto_what_shows_a_secret_asks(make_gate: Make, project: Path) -> None:
    gate = make_gate("auto", sandboxed=True)
    for command in commands(SHOWS):
        found, reason = verdict(gate, command)
        assert found == "ask", command
        assert "may hold secrets" in reason, command


SHOWN_BY_OTHER_MEANS = """
wc --files0-from=.env
wc --f=.env
du --files0-from=.env
date -f .env
file -f.env
file --magic-file=.env a.py
make -f .env -p
git config -f .env -l
git config --file=.env --list
git interpret-trailers .env
git log -L1,2:.env
git log -U3 .env
git checkout-index --temp .env
python3 -m base64 -e .env
sqlite3 :memory: "select readfile('.env')"
echo 'print(open(".env").read())' | python3
echo cat .env | bash
bash <<< 'cat .env'
cd /; cat $OLDPWD/.env
cat ../$(basename $PWD)/.env
"""


@pytest.mark.parametrize("command", SHOWN_BY_OTHER_MEANS.strip().split("\n"))
def test_what_prints_a_secret_by_another_option_or_program_asks(
    command: str, make_gate: Make, project: Path
) -> None:
    assert verdict(make_gate("auto", sandboxed=True), command)[0] == "ask"
    if command.startswith(("wc", "du", "date", "file")):
        assert verdict(make_gate("ask", sandboxed=True), command)[0] == "ask"


@pytest.mark.parametrize("command", ["wc -l .env", "du -h .env", "git config -l", "date +%F"])
def test_what_tells_only_about_a_secret_does_not_ask(
    command: str, make_gate: Make, project: Path
) -> None:
    assert verdict(make_gate("auto", sandboxed=True), command)[0] == "allow"


def test_in_auto_what_only_names_or_writes_a_secret_does_not_ask(
    make_gate: Make, project: Path
) -> None:
    gate = make_gate("auto", sandboxed=True)
    for command in commands(SHOWS_NOTHING):
        assert verdict(gate, command) == ("allow", "the sandbox contains it"), command


def test_in_ask_too_a_look_at_a_name_does_not_ask(make_gate: Make, project: Path) -> None:
    gate = make_gate("ask")
    for command in ("test -f .env", "ls -la .env", "wc -l .env", "git check-ignore .env"):
        assert verdict(gate, command)[0] == "allow", command
    for command in ("cat .env", "head < .env", "git show HEAD:.env", "cat certs/server.pem"):
        assert verdict(gate, command)[0] == "ask", command


@pytest.mark.parametrize(
    ("command", "shows"),
    [
        ("grep -r hunter .", True),
        ("grep -rn hunter", True),
        ("grep -r --include='*.py' hunter .", False),
        ("grep -r --include='.env*' hunter .", True),
        ("grep hunter README.md", False),
        ("grep -d recurse hunter .", True),
        ("rg hunter", False),
        ("rg --hidden hunter", False),
        ("rg --hidden --no-ignore hunter", True),
        ("rg -uu hunter .", True),
        ("rg -uu -t py hunter .", False),
        ("diff -r . other", True),
        ("git grep hunter", True),
        ("git show", True),
        ("git show --stat", False),
        ("git log -p", True),
        ("git log", False),
        ("git diff", True),
        ("git diff src", False),
        ("git diff --name-only", False),
    ],
)
def test_a_search_asks_if_it_goes_through_a_secret(
    command: str, shows: bool, make_gate: Make, workspace: Path
) -> None:
    """By effect: the secret is in what the same command prints in a plain bash."""
    (workspace / ".gitignore").write_text(".env\n")
    other = workspace / "other"
    other.mkdir()
    (other / ".env").write_text("x\n")
    (workspace / ".env").write_text("KEY=hunter2\n")
    printed = run_in_bash([command], workspace)
    assert ("hunter2" in printed) == shows
    assert (verdict(make_gate("ask"), command)[0] == "ask") == shows


def test_a_rule_that_allows_a_path_holds_for_tools_and_commands(
    make_gate: Make, project: Path
) -> None:
    rule = RuleConfig(verdict="allow", path=".env")
    for mode in ("ask", "auto"):
        gate = make_gate(mode, sandboxed=mode == "auto", rules=(rule,))
        assert verdict(gate, "cat .env")[0] == "allow"
        action = ReadPath(path=str(project / ".env"))
        assert gate.decide(action, tool="read").verdict == "allow"
        assert verdict(gate, "cat .npmrc")[0] == "ask"
    assert project / ".env" not in gate.hidden_secrets()


def test_in_auto_the_sandbox_hides_secrets_that_git_does_not_hold(
    make_gate: Make, workspace: Path
) -> None:
    subprocess.run(["git", "rm", "-q", "--cached", ".env"], cwd=workspace, check=True)
    (workspace / "certs").mkdir()
    (workspace / "certs" / "test.pem").write_text("tracked\n")
    subprocess.run(["git", "add", "certs"], cwd=workspace, check=True)
    (workspace / ".aws").mkdir()
    (workspace / ".aws" / "config").write_text("hunter2\n")
    (workspace / ".venv" / "lib").mkdir(parents=True)
    (workspace / ".venv" / "lib" / "ca.pem").write_text("installed\n")
    gate = make_gate("ask", sandboxed=True)
    assert gate.hidden_secrets() == []
    gate.mode = "auto"
    sandbox = make_sandbox(
        workspace=workspace,
        enabled=True,
        network=False,
        writable=[],
        state_dir=paths.state_dir() / "repo",
        secrets=gate.hidden_secrets,
    ).sandbox
    script = "grep -r . .; cat .env .aws/config; python3 -c 'print(open(\".env\").read())'"
    done = subprocess.run(
        sandbox.wrap(["bash", "-c", script], cwd=workspace),
        env=sandbox.environment(),
        cwd=workspace,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "hunter2" not in done.stdout
    assert "tracked" in done.stdout
    assert "installed" in done.stdout


HOME_PLACES = """
.ssh/id_ed25519 .gnupg/private-keys-v1.d/x .password-store/a.gpg .aws/credentials .azure/token.json
.kube/config .docker/config.json .dockercfg .s3cfg .boto .passwd-s3fs .rclone.conf .mc/config.json
.linode-cli .tugboat .cf/config.json .cloudflared/cert.pem .ngrok2/ngrok.yml
.pulumi/credentials.json .terraformrc .terraform.d/credentials.tfrc.json .vault-token .chef/me.pem
.netrc .authinfo .git-credentials .hub .arcrc .pypirc .pip/pip.conf .npmrc .yarnrc.yml
.gem/credentials .composer/auth.json .cargo/credentials.toml .m2/settings.xml
.gradle/gradle.properties .sbt/.credentials .hex/hex.config .pub-cache/credentials.json
.kaggle/kaggle.json .Renviron .huggingface/token .ollama/id_ed25519 .pgpass .my.cnf .mylogin.cnf
.mongorc.js .cassandra/credentials .vnc/passwd .filezilla/recentservers.xml .subversion/auth/x
.mozilla/a .thunderbird/b .mutt/c .msmtprc .bash_history .zsh_history .psql_history .python_history
.Rhistory .lesshst .viminfo .bitcoin/wallet.dat .ethereum/keystore/k .near-credentials/k
.foundry/keystores/k .config/gh/hosts.yml .config/gcloud/credentials.db
.claude/c .codex/auth.json .opencode/a .local/share/keyrings/login.keyring
.step/secrets/k .tsh/keys/k .local/share/uv/credentials/c
.snowsql/config .databrickscfg .sentryclirc .netlify/config.json .heroku/k .fly/config.yml
"""

WORKSPACE_PLACES = """
.env .env.production app/.env.local prod.env .envrc .dev.vars .netrc .pypirc .npmrc .pgpass .my.cnf
.git-credentials .htpasswd .dockercfg .s3cfg .boto .vault_pass.txt vault_pass terraform.tfvars
prod.auto.tfvars terraform.tfstate infra/terraform.tfstate.backup kubeconfig prod.kubeconfig
rclone.conf wp-config.php sftp-config.json .vscode/sftp.json .ftpconfig recentservers.xml
local.settings.json android/key.properties keystore.properties .aws/credentials .aws/config
.ssh/config .kube/config .docker/config.json credentials credentials.json credentials.csv
rootkey.csv me_accessKeys.csv client_secret_1.json service-account-prod.json
application_default_credentials.json x-firebase-adminsdk-1.json token.json secrets.yml
config/secrets.toml .streamlit/secrets.toml .secrets a.secret .bash_history id_rsa deploy_rsa
id_ed25519 key.pem server.key a.ppk b.p12 c.pfx d.p8 e.kdbx f.jks g.keystore h.keytab i.ovpn
config/master.key .ENV ID_RSA Server.PEM
"""

PUBLIC_PLACES = """
.env.example .env.sample .env.template .env.dist example.env .env.local.example id_rsa.pub
credentials.example.json secrets-template.yaml terraform.tfvars.example env.py environment.yml
config.json package.json settings.py keys.py secret.py secrets.py credentials.py token.py auth.json
tokenizer.json README.md .gitignore .editorconfig cacert.pem docs/secrets.md src/history.py
test_rsa.py rsa.py keystore.go history.txt .envoy monkey.py turnkey.md env/__init__.py
"""


def test_places_of_credentials_are_known_one_by_one(
    make_gate: Make, workspace: Path, home: Path
) -> None:
    gate = make_gate("auto", sandboxed=True)
    for name in HOME_PLACES.split():
        assert gate.decide(ReadPath(path=str(home / name)), tool="read").verdict == "ask", name
        assert sensitive_paths.secret_reason(home / name, workspace), name
    for name in WORKSPACE_PLACES.split():
        decision = gate.decide(ReadPath(path=str(workspace / name)), tool="read")
        assert (decision.verdict, "may hold secrets" in decision.reason) == ("ask", True), name
    for name in PUBLIC_PLACES.split():
        assert gate.decide(ReadPath(path=str(workspace / name)), tool="read").verdict == "allow", (
            name
        )
