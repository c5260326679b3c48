"""Model servers in the interface: found, tried before anything is written, chosen in /model."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import load_config
from laguna_agent.events import Reply
from laguna_agent.interfaces.tui.screens.dialogs import Picker
from laguna_agent.interfaces.tui.screens.server_dialog import ServerDialog
from laguna_agent.models.store import Store
from support.model_server import Exchange, ModelServer
from support.terminal import says

WIDE = (110, 30)


def serving(*names: str, script: Any = None) -> ModelServer:
    """A server with these models, which answers by `script`, or with a text."""
    server = ModelServer(script or says("hello from afar"))
    server.gets["/v1/models"] = {"data": [{"id": name} for name in names]}
    return server


@pytest.fixture
def config_file(laguna_home: Path) -> Path:
    return laguna_home / "config" / "config.toml"


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def enter(ui: Any, field: str, text: str) -> None:
    """Fill a field of the dialog, and press Enter in it."""
    await ui.until(lambda: ui.app.screen.query_one(f"#{field}").has_focus, field)
    line = ui.app.screen.query_one(f"#{field}")
    line.value = text
    await ui.pilot.press("enter")


async def to_server_dialog(ui: Any) -> None:
    await ui.dialog(Picker)
    await ui.pilot.press(*"openai", "enter")
    await ui.dialog(ServerDialog)


async def test_a_server_is_added_once_its_model_has_answered(drive, opening, config_file) -> None:
    hold = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await hold.wait()
        await says("hello from afar")(exchange)

    async with (
        serving("small", "big-one", script=slow) as server,
        drive([Reply(text="x")], open_session=opening, size=WIDE) as ui,
    ):
        await to_server_dialog(ui)
        await enter(ui, "address", f"127.0.0.1:{server.port}")
        await ui.shows("has 2 models")
        await ui.pilot.press(*"big", "enter")
        await ui.shows("trying big-one")
        assert not config_file.exists()
        assert Store().default is None
        hold.set()
        await ui.idle()
        assert tomllib.loads(config_file.read_text()) == {
            "providers": {"server": {"url": server.url}}
        }
        await ui.until(lambda: Store().default == "server/big-one", "kept")
        await ui.send("hi")
        await ui.shows("hello from afar")


@pytest.mark.slow
async def test_what_does_not_work_is_said_and_never_written(drive, opening, config_file) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer("400 Bad", {"error": {"message": "model is broken"}})

    async def page(exchange: Exchange) -> None:
        await exchange.answer("200 OK", b"<html>router</html>")

    async with (
        serving("m", script=refuses) as server,
        ModelServer() as other,
        drive([Reply(text="x")], open_session=opening, size=WIDE) as ui,
    ):
        other.gets["/v1/models"] = page
        await to_server_dialog(ui)
        for typed, told in (
            ("htp://127.0.0.1", "is no address of a model server"),
            ("no such host", "is no address of a model server"),
            ("http://127.0.0.1:9", "nothing listens at http://127.0.0.1:9/v1"),
            (str(other.port), "not with a list of models (with a web page)"),
        ):
            await enter(ui, "address", typed)
            await ui.shows(told)
        await enter(ui, "address", server.url)
        await ui.shows("has 1 model")
        await ui.pilot.press("enter")
        await ui.shows("model is broken")
        await ui.pilot.press("escape")  # from the models to the address
        await enter(ui, "address", server.url)
        await ui.shows("has 1 model")
        await ui.pilot.press("escape", "escape")  # and from there to the first question
        await ui.dialog(Picker)
        await ui.shows("Which model should it use?")
        await ui.pilot.press("escape")
        await ui.shows("no model yet")
    assert not config_file.exists()
    assert Store().default is None


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("127.0.0.1:9", "nothing listens at http://127.0.0.1:9/v1"),
        ("htp://127.0.0.1:9", "htp://127.0.0.1:9 is no address of a model server"),
    ],
)
async def test_an_address_is_taken_from_the_search_with_enter_right_behind_it(
    drive, opening, typed, told
) -> None:
    async with drive([Reply(text="x")], open_session=opening, size=WIDE) as ui:
        await ui.dialog(Picker)
        line = ui.app.screen.query_one("#search")
        await ui.until(lambda: line.quiet.over, "the list was seen")
        line.value = typed
        await ui.pilot.press("enter")  # the list knows the address only a moment later
        await ui.shows(told)


async def test_escape_stops_a_server_that_does_not_answer(drive, opening, config_file) -> None:
    async def silent(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with (
        serving("m", script=silent) as server,
        drive([Reply(text="x")], open_session=opening, size=WIDE) as ui,
    ):
        await to_server_dialog(ui)
        await enter(ui, "address", server.url)
        await ui.shows("has 1 model")
        await ui.pilot.press("enter")
        await ui.until(lambda: server.requests, "asked")
        await ui.pilot.press("escape")
        await ui.shows("stopped")
        server.scripts = [says("hello")]
        await ui.pilot.press("enter")
        await ui.idle()
        assert config_file.exists()


@pytest.mark.slow
async def test_a_running_server_is_offered_at_the_first_run(
    drive, opening, config_file, monkeypatch
) -> None:
    async with serving("qwen3:30b", "nomic-embed-text", "other") as server:
        server.gets["/v1/models"]["data"][0]["owned_by"] = "library"
        usual = ((server.port, "/v1"),)
        monkeypatch.setattr("laguna_agent.models.servers.discovery.USUAL", usual)
        async with drive([Reply(text="x")], open_session=opening, size=(80, 24)) as ui:
            await ui.shows("qwen3:30b")
            assert f"Ollama at 127.0.0.1:{server.port}" in ui.shown
            assert "nomic-embed" not in ui.shown
            await ui.pilot.press("enter")  # the only question
            await ui.idle()
            assert ui.app.agent.settings.config.model == "ollama/qwen3:30b"
        assert tomllib.loads(config_file.read_text()) == {
            "providers": {"ollama": {"url": server.url}}
        }


@pytest.mark.slow
async def test_a_key_is_asked_for_and_taken_from_a_variable(
    drive, opening, config_file, monkeypatch
) -> None:
    monkeypatch.setenv("BOX_KEY", "right")

    async def guarded(exchange: Exchange) -> None:
        ok = exchange.headers.get("authorization") == "Bearer right"
        listed = {"data": [{"id": "m"}]}
        await exchange.answer("200 OK" if ok else "401 No", listed if ok else {})

    async with (
        serving("m") as server,
        drive([Reply(text="x")], open_session=opening, size=WIDE) as ui,
    ):
        server.gets["/v1/models"] = guarded
        await to_server_dialog(ui)
        await enter(ui, "address", server.url)
        await ui.shows("wants an API key")
        await enter(ui, "key", "wrong")
        await ui.shows("does not accept the API key")
        await enter(ui, "key", "$NOT_SET")
        await ui.shows("$NOT_SET is not set")
        await enter(ui, "key", "$BOX_KEY")
        await ui.shows("has 1 model")
        await ui.pilot.press("enter")
        await ui.idle()
        assert tomllib.loads(config_file.read_text()) == {
            "providers": {"server": {"url": server.url, "key_env": "BOX_KEY"}}
        }
        assert server.headers[0]["authorization"] == "Bearer right"


@pytest.mark.slow
async def test_a_typed_key_is_kept_in_a_file_that_only_the_user_reads(
    drive, opening, config_file
) -> None:
    async def guarded(exchange: Exchange) -> None:
        ok = exchange.headers.get("authorization") == "Bearer sk-right"
        if ok and exchange.body is None:
            await exchange.answer("200 OK", {"data": [{"id": "m"}]})
        elif ok:
            await says("hello from afar")(exchange)
        else:
            await exchange.answer("401 Unauthorized", {})

    async with (
        serving("m", script=guarded) as server,
        drive([Reply(text="x")], open_session=opening, size=WIDE) as ui,
    ):
        # Some list their models without a key, and want one for a reply.
        await to_server_dialog(ui)
        await enter(ui, "address", server.url)
        await ui.shows("has 1 model")
        await ui.pilot.press("enter")
        await ui.shows("HTTP 401")
        server.gets["/v1/models"] = guarded
        await enter(ui, "key", "sk-right")
        assert "sk-right" not in ui.shown
        await ui.shows("has 1 model")
        await ui.pilot.press("enter")
        await ui.idle()
        await ui.send("hi")
        await ui.shows("hello from afar")
    path = config_file.parent / "keys" / "server"
    assert tomllib.loads(config_file.read_text()) == {
        "providers": {"server": {"url": server.url, "key_file": str(path)}}
    }
    assert path.read_text() == "sk-right\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('model = "box/m"\n[providers.box]\nurl = "box:8080"\n', "is not an address"),
        ('model = "bxo/m"\n[providers.box]\nurl = "http://127.0.0.1:9"\n', "no provider `bxo`"),
    ],
)
async def test_a_wrong_server_in_the_configuration_does_not_stop_the_start(
    drive, opening, config_file, text, told
) -> None:
    written(config_file, text)
    async with drive([Reply(text="x")], open_session=opening, size=WIDE) as ui:
        await ui.dialog(Picker)
        await ui.shows("Which model instead?")
        await ui.pilot.press("escape")
        await ui.shows(told)
    assert config_file.read_text() == text


async def test_a_server_that_is_down_is_said_at_the_start(drive, opening, config_file) -> None:
    written(config_file, 'model = "box/m"\n[providers.box]\nurl = "http://127.0.0.1:9"\n')
    async with drive([], open_session=opening, size=WIDE) as ui:
        await ui.idle()
        await ui.shows("box/m: nothing listens at http://127.0.0.1:9/v1")
        assert "/model chooses another model" in ui.shown


@pytest.mark.slow
async def test_the_picker_marks_the_model_in_use_and_keeps_it_when_another_fails(
    drive, opening, config_file
) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer("400 Bad", {"error": {"message": "model is broken"}})

    async with serving("m", "n") as server, serving("k", script=refuses) as other:
        text = f'model = "box/m"\n[providers.box]\nurl = "{server.url}"\n'
        text += '[providers.attic]\nurl = "http://127.0.0.1:9"\n'
        written(config_file, f'{text}[providers.bad]\nurl = "{other.url}"\n')
        async with drive([], open_session=opening, size=WIDE) as ui:
            await ui.idle()
            await ui.command("/model")
            await ui.dialog(Picker)
            picker = ui.app.screen
            assert picker.chosen == "box/m", "before its server has answered"
            await ui.shows("box/n")
            assert picker.chosen == "box/m"
            [row] = [line for line in ui.shown.split("\n") if "box/m" in line and "in use" in line]
            assert "127.0.0.1" in row
            assert "attic/…" in ui.shown
            assert "nothing listens" in ui.shown
            await ui.pilot.press(*"bad/k", "enter")
            await ui.shows("model is broken")
            await ui.pilot.press("escape", "escape")
            assert ui.app.agent.session.info.name == "box/m"
            await ui.command("/model box/n")
            await ui.until(lambda: ui.app.status.status.model == "box/n", "changed")
            await ui.shows("used now; `model` in your configuration")
    assert load_config().model == "box/m"
    assert Store().default == "box/n"
