"""A model on a server as the default: every command knows it."""

from __future__ import annotations

import json
from asyncio import to_thread
from pathlib import Path

import pytest

from laguna_agent.agent.model_loading import load_model
from laguna_agent.cli import main
from laguna_agent.config import load_config
from laguna_agent.events import Reply, SystemPrompt
from laguna_agent.models.store import Store
from laguna_agent.trajectory.store import Trajectory
from support.model_server import ModelServer
from support.packs import write_files
from support.sessions import started

Captured = pytest.CaptureFixture[str]
URL = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def configured(laguna_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A provider whose server does not run."""
    text = f'model = "fake/fake"\n[providers.fake]\nurl = "{URL}"\ncontext = 8192\n'
    write_files(laguna_home / "config", {"config.toml": text})
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    monkeypatch.chdir(repository)
    return repository


def test_list_and_show_name_it(capsys: Captured) -> None:
    assert main(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["default"] == "fake/fake"
    assert listed["models"][0]["state"] == "on a server"
    assert main(["models", "list"]) == 0
    assert "\n*  fake/fake " in capsys.readouterr().out
    assert main(["models", "show", "fake/fake"]) == 0
    assert "8192" in capsys.readouterr().out
    assert main(["models", "show", "other/fake"]) == 3


def test_a_provider_that_is_not_there_is_named(capsys: Captured) -> None:
    for command in (["--task", "x", "--model", "fke/fake"], ["models", "default", "fke/fake"]):
        assert main(command) == 3
        err = capsys.readouterr().err
        assert "there is no provider `fke` in config.toml (there: fake)" in err
        assert "laguna config edit" in err


async def test_default_chooses_it_for_sessions(
    laguna_home: Path, configured: Path, capsys: Captured
) -> None:
    text = (laguna_home / "config/config.toml").read_text().partition("\n")[2]
    (laguna_home / "config/config.toml").write_text(text)
    assert main(["models", "default", "fake/fake"]) == 0
    assert capsys.readouterr().out == "fake/fake\n"
    assert Store().default == "fake/fake"
    loaded = await load_model(
        load_config(), root=configured, session="s", trusted=False, plan=False
    )
    await loaded.conversation.aclose()
    assert loaded.info.name == "fake/fake"


def test_doctor_says_that_the_server_does_not_answer(capsys: Captured) -> None:
    main(["doctor", "--json"])
    [found] = [f for f in json.loads(capsys.readouterr().out) if f["name"] == "model"]
    assert found["state"] == "bad"
    assert URL in found["text"]
    assert "laguna models default" in found["fix"]


async def test_doctor_says_that_the_server_answers_and_serves_the_model(laguna_home: Path) -> None:
    from laguna_agent.interfaces.commands.doctor import _server

    async with ModelServer() as server:
        text = f'[providers.fake]\nurl = "{server.url}"\ncontext = 8192\n'
        write_files(laguna_home / "config", {"config.toml": text})
        for names, state in ((["fake"], "ok"), (["fake:latest"], "ok"), (["other"], "note")):
            server.gets["/v1/models"] = {"data": [{"id": name} for name in names]}
            found = await to_thread(_server, "fake/fake", load_config())
            assert (found.state, found.name) == (state, "model")
        del server.gets["/v1/models"]  # it may answer chats all the same
        found = await to_thread(_server, "fake/fake", load_config())
        assert found.state == "note"
        assert "HTTP 404" in found.text


async def test_list_shows_what_providers_serve_and_why_others_do_not(
    laguna_home: Path, capsys: Captured
) -> None:
    async with ModelServer() as server:
        server.gets["/v1/models"] = {"data": [{"id": "big"}, {"id": "small"}]}
        text = f'[providers.box]\nurl = "{server.url}"\n[providers.dead]\nurl = "{URL}"\n'
        write_files(laguna_home / "config", {"config.toml": text})
        assert await to_thread(main, ["models", "list", "--json"]) == 0
        listed = json.loads(capsys.readouterr().out)
        assert [row["name"] for row in listed["models"] if row["state"] == "on a server"] == [
            "box/big",
            "box/small",
        ]
        assert list(listed["problems"]) == ["dead"]
        assert await to_thread(main, ["models", "list"]) == 0
        shown = capsys.readouterr()
        [row] = [line for line in shown.out.split("\n") if "box/big" in line]
        assert row.split("  ")[-1] == f"127.0.0.1:{server.port}"
        assert "provider dead: nothing listens at" in shown.err
        asked = len(server.asked)
        assert await to_thread(main, ["models", "list", "--installed"]) == 0
        assert len(server.asked) == asked  # it is about this machine


def test_prompts_are_shown_for_it(capsys: Captured) -> None:
    assert main(["prompts", "show"]) == 0
    assert "fake/fake is on a server" in capsys.readouterr().out
    assert main(["prompts", "list"]) == 0
    assert "* is the pack of fake/fake" in capsys.readouterr().out


@pytest.mark.parametrize("form", [{"format": "openai"}, {"format": "fenced", "engine": "server x"}])
def test_what_needs_a_model_file_says_so(
    configured: Path, capsys: Captured, form: dict[str, str]
) -> None:
    assert main(["bench"]) == 3
    assert "fake/fake is on a server, and this needs a model file" in capsys.readouterr().err
    with Trajectory.create(configured, session_id="one") as trajectory:
        model = {"name": "fake/fake", **form}
        trajectory.append(started("one").model_copy(update={"model": model}))
        trajectory.append(SystemPrompt(text="", tools=[], tokens=0))
        trajectory.append(Reply(text="hello"))
    assert main(["sessions", "show", "one", "--verify"]) == 2
    assert "fake/fake answered on a server" in capsys.readouterr().err
