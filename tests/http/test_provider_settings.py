"""Keys, headers, certificates and time limits of a provider, and where its secrets do not go."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import Config, ProviderConfig, load_config
from laguna_agent.errors import LagunaError, ModelError, UsageError
from laguna_agent.models.servers import credentials
from laguna_agent.models.servers.providers import open_provider
from laguna_agent.policy.environment import Inheritance
from laguna_agent.programs import distrust
from support.model_server import Exchange, ModelServer, Script
from support.scripted import call, open_scripted, results_of, take
from support.talk_to_server import collect, reply_of, says_hi, timeouts

KEY = "correct-horse-battery"


@pytest.fixture(autouse=True)
def no_secrets_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_printed", "_secrets"):
        monkeypatch.setattr(credentials, name, {})
    monkeypatch.setattr(credentials, "_variables", set())


async def headers_of(*scripts: Script, **given: Any) -> list[dict[str, str]]:
    """The headers of the requests of one reply."""
    environment = given.pop("environment", {"PATH": os.environ["PATH"]})
    async with ModelServer(*scripts or [says_hi]) as server:
        config = Config(providers={"box": ProviderConfig(url=server.url, **given)})
        conversation = await open_provider(
            "box/m", config, environment=environment, timeouts=timeouts()
        )
        try:
            await collect(conversation)
        finally:
            await conversation.aclose()
    return server.headers


def prints(tmp_path: Path, *lines: str) -> Path:
    """A program that counts its runs and prints the line of that number, or the last one."""
    program = tmp_path / "print-key"
    cases = "\n".join(f"{n}) printf '%s\\n' '{line}' ;;" for n, line in enumerate(lines[:-1], 1))
    program.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/runs\n"
        f"case $(grep -c x {tmp_path}/runs) in\n{cases}\n*) printf '%s\\n' '{lines[-1]}' ;;\nesac\n"
    )
    program.chmod(0o700)
    return program


def runs(tmp_path: Path) -> int:
    return len((tmp_path / "runs").read_text().split())


async def test_a_key_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"\ufeff\n{KEY}\r\n\n")
    [headers] = await headers_of(key_file=str(tmp_path / "key"))
    assert headers["authorization"] == f"Bearer {KEY}"


async def test_a_key_comes_from_a_command_that_is_run_once_and_without_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = prints(tmp_path, KEY)
    for _ in range(2):
        [headers] = await headers_of(key_command=f"{program} '$(touch {tmp_path}/shell)' ; x")
        assert headers["authorization"] == f"Bearer {KEY}"
    assert runs(tmp_path) == 1
    assert not (tmp_path / "shell").exists()
    assert KEY not in caplog.text


async def test_a_key_that_expires_is_read_again_once(tmp_path: Path) -> None:
    async def expired(exchange: Exchange) -> None:
        if exchange.headers["authorization"] != "Bearer second-key-00":
            await exchange.answer("401 Unauthorized", {"error": {"message": "token expired"}})
        else:
            await says_hi(exchange)

    program = prints(tmp_path, "first-key-0000", "second-key-00")
    sent = await headers_of(expired, key_command=str(program))
    assert [h["authorization"] for h in sent] == ["Bearer first-key-0000", "Bearer second-key-00"]
    (other := tmp_path / "other").mkdir()
    with pytest.raises(ModelError, match=r"HTTP 401.*\n.*`key_command`"):
        await headers_of(expired, key_command=str(prints(other, "third-key-0000")))
    assert runs(other) == 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"key_file": "{}/missing"}, "`key_file` of provider box: {}/missing cannot be read"),
        ({"key_file": "key"}, "must be an absolute path"),
        ({"key_file": "{}"}, "cannot be read: Is a directory"),
        ({"key_file": "/dev/zero"}, "no file"),
        ({"key_file": "{}/empty"}, "gives nothing instead of one line"),
        ({"key_file": "{}/two"}, "gives 2 lines instead of one line"),
        ({"key_file": "{}/odd"}, "characters that no header may have"),
        ({"key_file": "{}/work/key"}, "is in a repository, where commands can write"),
        ({"key_file": "{}/link"}, "is in a repository, where commands can write"),
        ({"key_command": "{}/fails"}, "`key_command` of provider box failed with exit code 3"),
        ({"key_command": "no-such-program"}, "no-such-program is not found"),
        ({"key_command": "'"}, "is not a command"),
        (
            {"headers": {"X-Org": "a${{NOT_SET}}"}},
            "header X-Org of provider box: NOT_SET is not set",
        ),
    ],
)
async def test_what_gives_no_key_is_named_without_what_it_holds(
    settings: dict[str, Any], told: str, tmp_path: Path
) -> None:
    here = str(tmp_path)
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "two").write_text(f"{KEY}\n{KEY}\n")
    (tmp_path / "odd").write_text(f"{KEY}é\x01")
    (tmp_path / "fails").write_text(f"#!/bin/sh\necho {KEY}; echo {KEY} >&2; exit 3\n")
    (tmp_path / "fails").chmod(0o700)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "key").write_text(KEY)
    (tmp_path / "link").symlink_to(tmp_path / "work" / "key")
    distrust(tmp_path / "work")
    given = {
        key: value.replace("{}", here) if isinstance(value, str) else value
        for key, value in settings.items()
    }
    if "headers" in given:
        given["headers"] = {"X-Org": "a${NOT_SET}"}
    with pytest.raises(LagunaError) as raised:
        await headers_of(**given)
    assert told.replace("{}", here) in str(raised.value)
    assert KEY not in str(raised.value)
    assert raised.value.exit_code == 2


async def test_headers_are_sent_with_every_request_and_take_variables(tmp_path: Path) -> None:
    [headers] = await headers_of(
        headers={"X-Org": "42", "CF-Access-Client-Secret": "s-${A_B}-${C}", "user-agent": "me/1"},
        environment={"A_B": "first$$", "C": "${A_B}"},
    )
    assert headers["x-org"] == "42"
    assert headers["cf-access-client-secret"] == "s-first$$-${A_B}"
    assert headers["user-agent"] == "me/1"
    [headers] = await headers_of(
        headers={"Authorization": "Basic ${CODE}"}, environment={"CODE": "dXNlcjpwYXNz"}
    )
    assert headers["authorization"] == "Basic dXNlcjpwYXNz"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('key_env = "A"\nkey_file = "/k"', "only one of `key_env` and `key_file`"),
        ('key_file = "/k"\nkey_command = "k"', "only one of `key_file` and `key_command`"),
        ('ca = "x.pem"\nverify = false', "`ca` has no effect"),
        ('headers = {"X Y" = "1"}', "`X Y` is not the name of a header"),
        ('headers = {"Content-Length" = "1"}', "cannot be set"),
        ('headers = {X = "a\\r\\nB: c"}', "must be plain text in one line"),
        ("headers = {X = 1}", "valid string"),
        ("loading_timeout = 0", "greater than 0"),
        ("dialect = {alternat = true}", "did you mean `alternate`?"),
        ("dialect = {fields = {messages = []}}", "`messages` is laguna's own"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    text: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[providers.box]\nurl = "http://127.0.0.1:1/v1"\n{text}\n')
    with pytest.raises(UsageError) as raised:
        load_config(user=path, environment={})
    assert told.lower() in str(raised.value).lower()


@pytest.mark.parametrize("key", ["key_file = '/k'", "key_command = 'id'", "verify = false"])
def test_a_project_names_no_server_and_no_key(key: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[providers.box]\nurl = "http://127.0.0.1:1/v1"\n{key}\n')
    with pytest.raises(UsageError, match="a project may not set `providers`"):
        load_config(project=path, user=tmp_path / "none", environment={})


def test_variables_in_headers_are_secrets_of_the_session() -> None:
    headers = {"X": "${POOLSIDE_CRED_X2} ${OTHER_X3}"}
    config = Config(providers={"box": ProviderConfig(url="http://h/v1", headers=headers)})
    assert Inheritance.of(config).keys == ("OTHER_X3", "POOLSIDE_CRED_X2")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_server_that_repeats_the_key_puts_it_into_no_error(
    streamed: bool, tmp_path: Path
) -> None:
    async def repeats(exchange: Exchange) -> None:
        error = {"error": {"message": f"Invalid token. Received={KEY}, X={KEY}-2", "code": 400}}
        if streamed:
            await exchange.open()
            await exchange.event(error)
        else:
            await exchange.answer("403 Forbidden", error)

    (tmp_path / "key").write_text(KEY)
    with pytest.raises(ModelError) as raised:
        await headers_of(repeats, key_file=str(tmp_path / "key"))
    assert KEY not in str(raised.value)
    assert "Received=[key of box], X=[key of box]-2" in str(raised.value)


async def test_a_key_of_a_file_stands_in_no_result_and_no_record(
    tmp_path: Path, laguna_home: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    secret = {"X-Api-Key": "another-long-secret", "X-Team": "the-whole-team"}
    await headers_of(key_file=str(tmp_path / "key"), headers=secret)
    workspace = tmp_path / "w"
    workspace.mkdir()
    (workspace / "a.txt").write_text(f"{KEY} another-long-secret the-whole-team\n")
    session, conversation = await open_scripted(
        workspace, [call("read", path="a.txt"), call("done")]
    )
    events = await take(session, "look")
    await session.aclose()
    record = (session.trajectory.directory / "events.jsonl").read_text()
    assert "[key of box] [X-Api-Key of box] the-whole-team" in results_of(events)[0].content
    for secret_text in (KEY, "another-long-secret"):
        assert secret_text not in record + repr(conversation.entries)


async def test_time_limits_of_a_provider() -> None:
    pauses: list[float] = []

    async def waits(seconds: float) -> None:
        pauses.append(seconds)

    async def loading(exchange: Exchange) -> None:
        await exchange.answer("503 Unavailable", {"error": {"message": "Loading model"}})

    async with ModelServer(loading) as server:
        settings = ProviderConfig(url=server.url, loading_timeout=1000, timeout=7)
        conversation = await open_provider("box/m", Config(providers={"box": settings}))
        waiting = conversation._timeouts
        assert (waiting.first_s, waiting.per_token_s, waiting.stall_s) == (7, 0, 7)
        assert waiting.loading_s == 1000
        await conversation.aclose()


async def test_what_was_learned_of_a_key_file_is_readable_by_its_owner_only(
    laguna_home: Path,
) -> None:
    async def refuses(exchange: Exchange) -> None:
        if "seed" in exchange.body:
            await exchange.answer("400 Bad", {"error": {"message": "Unknown parameter: 'seed'"}})
        else:
            await says_hi(exchange)

    await headers_of(refuses)
    assert stat.S_IMODE((laguna_home / "state" / "servers.json").stat().st_mode) == 0o600


async def test_a_dialect_that_the_user_sets_is_used_from_the_first_request() -> None:
    settings: dict[str, Any] = {
        "tools": "text",
        "system": False,
        "without": ["seed", "top_k"],
        "fields": {"reasoning_effort": "high", "chat_template_kwargs": {"custom": 1}},
    }
    async with ModelServer(says_hi) as server:
        config = {"url": server.url, "dialect": settings}
        provider = ProviderConfig.model_validate(config)
        conversation = await open_provider("box/m", Config(providers={"box": provider}))
        await conversation.start("Be brief.", [])
        assert reply_of(await collect(conversation)).text
        await conversation.aclose()
    [request] = server.requests
    assert "seed" not in request
    assert request["reasoning_effort"] == "high"
    assert request["chat_template_kwargs"] == {"enable_thinking": False, "custom": 1}
    assert request["messages"] == [{"role": "user", "content": "Be brief."}]


async def test_no_refusal_changes_what_the_user_sets() -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer("400 Bad", {"error": {"message": "Tools are not supported here"}})

    async with ModelServer(refuses) as server:
        config = {"url": server.url, "dialect": {"tools": "native", "alternate": False}}
        provider = ProviderConfig.model_validate(config)
        conversation = await open_provider("box/m", Config(providers={"box": provider}))
        with pytest.raises(ModelError, match="Tools are not supported here"):
            await collect(conversation)
        await conversation.aclose()
    assert len(server.requests) == 1
