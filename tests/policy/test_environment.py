"""The variables that commands and hooks get, and those that they do not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from laguna_agent.agent.hooks import Hooks
from laguna_agent.config import Config, HookConfig, ProviderConfig, load_config
from laguna_agent.errors import ModelError, UsageError
from laguna_agent.events import ToolCall
from laguna_agent.models.conversation import GenerateOptions
from laguna_agent.models.servers.providers import open_provider
from laguna_agent.policy.environment import (
    BUILT_IN,
    Inheritance,
    child_environment,
    held_back,
    is_secret_variable,
)
from laguna_agent.policy.sandbox import make_sandbox
from support.model_server import Exchange, ModelServer
from support.scripted import call, open_scripted, results_of, take

KEY = "correct-horse-battery"


SECRET_NAMES = """
API_KEY OPENAI_APIKEY MYAPIKEY apiKey github.token GITHUBTOKEN DB_PASSWORD PGPASSWORD MYSQL_PWD
client_secret AUTHORIZATION HTTP_AUTHORIZATION SECRETS AWS_ACCESS_KEY_ID TWILIO_AUTH SENTRY_DSN
GITLAB_PAT AZURE_CREDENTIALS CRED SSHKEY DEPLOY_KEYS NPM_CONFIG__AUTH SESSION_COOKIE PASSPHRASE
DB_PASS X_BEARER SLACK_WEBHOOK AwsSecretAccessKey AzureConnection_String
"""
SECRET_VALUES = """
postgres://u:hunter2@h/d redis://:hunter2@h HTTPS://u:p@h ghp_0123456789abcdef hvs.0123456789abcd
github_pat_0123456789abcdef glpat-0123456789abcd sk-ant-0123456789abcd sk_live_0123456789ab
xoxb-0123456789ab hf_0123456789abcd npm_0123456789abcd AKIA0123456789ABCDEF AIza0123456789abcd
Server=h;Password=hunter22; gsk_0123456789abcd eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x
nvapi-0123456789abcd dop_v1_0123456789abcd SG.0123456789abcd xai-0123456789abcd
"""
SECRETS = [
    *[(name, "hunter2hunter2") for name in SECRET_NAMES.split()],
    *[("NAME", value) for value in SECRET_VALUES.split()],
    ("NAME", "Bearer 0123456789abcdef"),
    ("NAME", "Basic dTpwOnVzZXI="),
    ("NAME", "-----BEGIN OPENSSH PRIVATE KEY-----"),
    ("DB_PASSWORD", "123456"),
    ("PIN_KEY", "1234"),
    ("BW_SESSION", "c2Vzc2lvbi1rZXktb2YtMzItYnl0ZXM="),
]


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_what_is_plainly_a_credential_is_held_back(name: str, value: str) -> None:
    source = {name: value, "PATH": "/bin"}
    assert is_secret_variable(name, value)
    assert name not in child_environment(source)
    assert held_back(BUILT_IN, source) == [name]


NEEDED = """
MONKEY=george KEYBOARD=us TURKEY=TR HOTKEY_DELAY=3 KEYMAP=de TOKENIZERS_PARALLELISM=false
MAX_TOKENS=4096 NODE_OPTIONS=--max-old-space-size=1 DATABASE_URL=sqlite:///x.db MAKEFLAGS=-j4
DATABASE_URL=postgres://localhost/test GOPRIVATE=example.org PATHEXT=x COMPASS=n AUTHOR=me BYPASS=1
DESKTOP_SESSION=gnome PASSENGER_APP_ENV=test JAVA_TOOL_OPTIONS=-Xmx1g SECRETARY=x OLDPWD=/x
DJANGO_SETTINGS_MODULE=a.b URL=https://user@host/x
"""


@pytest.mark.parametrize("given", NEEDED.split())
def test_what_a_build_needs_is_passed_on(given: str) -> None:
    name, _, value = given.partition("=")
    source = {name: value, "PATH": "/bin"}
    assert child_environment(source)[name] == value
    assert held_back(BUILT_IN, source) == []


def of(text: str, tmp_path: Path) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_config(user=path, environment={})


def test_the_configuration_passes_variables_by_name_and_pattern(tmp_path: Path) -> None:
    config = of('[policy.environment]\npass = ["DEPLOY_KEY", "CI_*", "EDITOR", "PATH"]\n', tmp_path)
    source = {
        "DEPLOY_KEY": "x",
        "CI_TOKEN": "y",
        "OTHER_TOKEN": "z",
        "EDITOR": "vi",
        "PATH": ".",
    }
    kept = child_environment(source, inheritance=Inheritance.of(config))
    assert (kept["DEPLOY_KEY"], kept["CI_TOKEN"], kept["EDITOR"]) == ("x", "y", "vi")
    assert "OTHER_TOKEN" not in kept
    assert kept["PATH"] == ""
    assert held_back(Inheritance.of(config), source) == ["OTHER_TOKEN"]


def test_a_project_cannot_pass_variables(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[policy.environment]\npass = ["*"]\n')
    with pytest.raises(UsageError, match=r"policy\.environment"):
        load_config(project=path, user=tmp_path / "none", environment={})


PROVIDER = '[providers.p]\nurl = "http://127.0.0.1:1/v1"\nkey_env = "POOLSIDE_CRED_X1"\n'


@pytest.mark.parametrize("confined", [False, True])
@pytest.mark.parametrize("passed", ["", '[policy.environment]\npass = ["*"]\n'])
def test_the_key_of_a_server_reaches_no_command_under_any_name(
    confined: bool, passed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLSIDE_CRED_X1", KEY)
    monkeypatch.setenv("HEADER", f"X-Own: {KEY}")
    config = of(PROVIDER + passed, tmp_path)
    workspace = tmp_path / "w"
    workspace.mkdir()
    sandbox = make_sandbox(
        workspace=workspace, enabled=confined, network=False, writable=[],
        state_dir=tmp_path / "state", inheritance=Inheritance.of(config),
    ).sandbox  # fmt: skip
    command = sandbox.wrap(["/bin/sh", "-c", "env; cat /proc/self/environ"], cwd=workspace)
    for environment in (
        (sandbox.environment(), {**os.environ}) if confined else ([sandbox.environment()])
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert "POOLSIDE_CRED_X1" not in done.stdout
        assert bool(passed) or KEY not in done.stdout


async def test_the_key_of_a_server_reaches_no_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLSIDE_CRED_X1", KEY)
    hook = HookConfig(on="before_tool", command="env > env.txt", sandbox=False)
    inheritance = Inheritance.of(of(PROVIDER, tmp_path))
    await Hooks([hook], cwd=tmp_path, inheritance=inheritance).before_tool(
        ToolCall(id="1", name="shell", arguments={})
    )
    assert KEY not in (tmp_path / "env.txt").read_text()


def test_only_its_own_name_passes_the_key_of_a_server(tmp_path: Path) -> None:
    config = of(PROVIDER + '[policy.environment]\npass = ["POOLSIDE_CRED_X1"]\n', tmp_path)
    inheritance = Inheritance.of(config)
    assert child_environment({"POOLSIDE_CRED_X1": KEY}, inheritance=inheritance)["POOLSIDE_CRED_X1"]
    assert inheritance.key_values({"POOLSIDE_CRED_X1": KEY}) == {}


async def test_a_result_holds_no_key_and_a_session_tells_once_what_is_held_back(
    tmp_path: Path, laguna_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLSIDE_CRED_X1", KEY)
    (laguna_home / "config").mkdir()
    (laguna_home / "config" / "config.toml").write_text(PROVIDER)
    workspace = tmp_path / "w"
    workspace.mkdir()
    (workspace / "kept.txt").write_text(f"key = {KEY}\n")
    script = [call("read", path="kept.txt"), call("shell", command="cat kept.txt"), call("done")]
    told = []
    for _ in range(2):
        session, conversation = await open_scripted(workspace, script)
        events = await take(session, f"look, I ran `env`: POOLSIDE_CRED_X1={KEY}")
        await session.aclose()
        record = session.trajectory.directory / "events.jsonl"
        assert KEY not in record.read_text()
        assert KEY not in repr(conversation.entries)
        assert "[POOLSIDE_CRED_X1]" in results_of(events)[1].content
        told.append("Not passed to commands" in record.read_text())
    assert told == [True, False]


async def test_a_password_in_the_address_of_a_server_stands_in_no_record() -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer("400 Bad Request", {"error": "no"})

    async with ModelServer(refuses) as server:
        address = server.url.replace("http://", "http://user:hunter2@")
        config = Config(providers={"p": ProviderConfig(url=address, context=4096)})
        conversation = await open_provider("p/m", config)
        with pytest.raises(ModelError) as raised:
            async for _ in conversation.generate(GenerateOptions()):
                pass
        await conversation.aclose()
        assert server.headers[0]["authorization"] == "Basic dXNlcjpodW50ZXIy"
    assert "hunter2" not in conversation.info.model_dump_json()
    assert "hunter2" not in f"{raised.value}"
    for wrong in ("ftp://user:hunter2@h/v1", "http://user:hunter2@/v1"):
        broken = Config(providers={"p": ProviderConfig(url=wrong)})
        with pytest.raises(UsageError) as refused:
            await open_provider("p/m", broken)
        assert "hunter2" not in str(refused.value)
