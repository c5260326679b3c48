"""The first run: no model is installed; the user chooses one, and the message is answered."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import tomllib

import pytest

from laguna_agent.agent.model_loading import load_model
from laguna_agent.agent.session import Session
from laguna_agent.events import ModelLoading, Reply
from laguna_agent.interfaces.tui.screens.dialogs import Picker, Question
from laguna_agent.models import catalogue
from laguna_agent.models.store import Store
from support.file_server import serving
from support.gguf_files import QWEN, gguf_bytes

DATA = gguf_bytes(QWEN | {"general.name": "Served"}, data=bytes(300_000))


@pytest.fixture
def server(monkeypatch):
    """Serves a small file as the starter model."""
    with serving(DATA) as running:
        running.etag = '"one"'
        text = catalogue.files(catalogue.__package__).joinpath("catalogue.toml").read_text()
        starter = tomllib.loads(text)["models"]
        entry = next(one for one in starter if one["name"] == catalogue.STARTER)
        size, digest = entry["files"][0]["bytes"], entry["files"][0]["sha256"]
        hub = 'hub = "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF"'
        before, _, after = text.partition(hub)
        after = after[after.index("\n\n") :].split("[[models.files.sources]]", 1)
        rest = after[1][after[1].index("\n\n") :] if "\n\n" in after[1] else ""
        changed = before + f'url = "{running.url}"' + after[0] + rest
        changed = changed.replace(f"{size:_}", str(len(DATA)))
        changed = changed.replace(digest, hashlib.sha256(DATA).hexdigest())

        class File:
            def joinpath(self, name):
                return self

            def read_text(self, encoding="utf-8"):
                return changed

        monkeypatch.setattr(catalogue, "files", lambda package: File())
        catalogue.load_catalogue.cache_clear()
        yield running
    monkeypatch.undo()
    catalogue.load_catalogue.cache_clear()


@pytest.mark.slow
async def test_the_first_run_explains_the_choices_and_downloads_the_starter(drive, opening, server):
    server.hold = threading.Event()
    async with drive([Reply(text="hello there")], open_session=opening, size=(110, 30)) as ui:
        await ui.dialog(Picker)
        await ui.shows("Which model should it use?")
        for choice in (
            "Laguna XS 2.1",
            "Qwen2.5 Coder 1.5B",
            "OpenAI-compatible API",
            "a GGUF file",
        ):
            assert choice in ui.shown
        assert "of memory" in ui.shown
        await ui.pilot.press(*"qwen", "enter")
        await ui.shows(f"downloading {catalogue.STARTER}")
        await ui.shows("of 300 kB")
        assert "esc stops" in ui.shown
        await ui.send("hi")  # sent once the model is loaded
        server.hold.set()
        await ui.shows("hello there")
        assert Store().find(catalogue.STARTER).path.read_bytes() == DATA
        assert Store().default == catalogue.STARTER


@pytest.mark.slow
async def test_escape_stops_the_download_and_choosing_again_continues_it(drive, opening, server):
    server.hold = threading.Event()
    async with drive([Reply(text="hello")], open_session=opening, size=(110, 30)) as ui:
        await ui.dialog(Picker)
        await ui.pilot.press(*"qwen", "enter")
        await ui.shows("of 300 kB")
        await ui.pilot.press("escape")
        server.hold.set()
        await ui.shows("the download was stopped")
        await ui.shows("What arrived is kept")
        server.hold = None
        await ui.command("/model")
        await ui.dialog(Picker)
        await ui.pilot.press(*"qwen2.5-coder-1.5b", "enter")
        await ui.idle()
        assert Store().find(catalogue.STARTER).path.read_bytes() == DATA
        assert any("range" in request for request in server.asked[1:])


async def test_a_failed_download_is_reported_and_can_be_chosen_again(drive, opening, server):
    server.status = 404
    async with drive([Reply(text="hello")], open_session=opening, size=(110, 30)) as ui:
        await ui.dialog(Picker)
        await ui.pilot.press(*"qwen", "enter")
        await ui.shows("404")
        assert not ui.app.activity.busy
        await ui.command("/model")
        await ui.dialog(Picker)


async def test_a_local_file_is_imported_and_used(drive, opening, tmp_path):
    path = tmp_path / "mine.gguf"
    path.write_bytes(DATA)
    async with drive([Reply(text="hello there")], open_session=opening, size=(110, 30)) as ui:
        await ui.dialog(Picker)
        await ui.pilot.press(*"gguf", "enter")
        await ui.dialog(Question)
        ui.app.screen.query_one("Input").value = str(path)
        await ui.pilot.press("enter")
        await ui.idle()
        assert ui.app.agent.settings.config.model == "mine"
        assert os.path.samefile(Store().find("mine").path, path)
        await ui.send("hi")
        await ui.shows("hello there")


async def test_a_file_that_is_not_a_model_is_reported_and_not_imported(drive, opening, tmp_path):
    path = tmp_path / "notes.gguf"
    path.write_text("not a model")
    async with drive([Reply(text="hello")], open_session=opening, size=(110, 30)) as ui:
        await ui.dialog(Picker)
        await ui.pilot.press(*"gguf", "enter")
        await ui.dialog(Question)
        ui.app.screen.query_one("Input").value = str(path)
        await ui.pilot.press("enter")
        await ui.shows("notes.gguf")
        await ui.until(lambda: not ui.app.activity.busy, "reported")
        assert not Store().installed()


async def test_escape_postpones_the_choice_and_a_message_asks_again(drive, opening):
    async with drive([Reply(text="x")], open_session=opening, size=(110, 30)) as ui:
        await ui.dialog(Picker)
        await ui.pilot.press("escape")
        await ui.shows("no model yet")
        await ui.send("hello?")
        await ui.dialog(Picker)
        await ui.pilot.press("escape")
        await ui.shows("hello?")
        assert ui.shown.count("no model yet") == 1
        assert ui.app.is_running


@pytest.mark.parametrize("size", [(40, 12), (80, 24)])
async def test_the_first_run_picker_is_readable_in_a_small_terminal(drive, opening, size):
    async with drive([Reply(text="x")], open_session=opening, size=size) as ui:
        await ui.dialog(Picker)
        await ui.shows("Which model")
        await ui.shows("Laguna XS 2.1")
        assert "Qwen2.5 Coder" in ui.shown


@pytest.mark.slow
async def test_escape_stops_an_import(drive, opening, tmp_path):
    path = tmp_path / "large.gguf"
    path.write_bytes(DATA)
    with path.open("r+b") as file:
        file.truncate(200 << 30)  # nothing on the disk, and minutes to hash
    async with drive([Reply(text="x")], open_session=opening, size=(110, 30)) as ui:
        await ui.dialog(Picker)
        await ui.pilot.press(*"gguf", "enter")
        await ui.dialog(Question)
        ui.app.screen.query_one("Input").value = str(path)
        await ui.pilot.press("enter")
        await ui.shows("of 214.7 GB")
        await ui.pilot.press("escape")
        await ui.shows("the import was stopped")
        assert not ui.app.activity.busy
        assert not Store().installed()


@pytest.mark.slow
async def test_escape_and_exit_stop_the_loading_of_a_new_model(drive, tmp_path):
    path = tmp_path / "large.gguf"
    path.write_bytes(DATA)
    with path.open("r+b") as file:
        file.truncate(8 << 30)

    async def open_session(settings, *, load, **options):
        settings.config.model = str(path)
        return await Session.open(settings, load=load_model, **options)

    async with drive([Reply(text="x")], open_session=open_session, size=(110, 30)) as ui:
        await ui.shows("loading the model")
        await ui.shows("of 8.6 GB")
        await ui.pilot.press("escape")
        await ui.shows("loading was stopped")
        await ui.until(lambda: not ui.app.activity.busy, "stopped")
        await ui.send("hello")
        await ui.shows("of 8.6 GB")
        await ui.command("/exit")
        await ui.until(lambda: ui.app._exit, "left")
    reading = [name for name in os.listdir("/proc/self/fd") if links_to(name, path)]
    assert not reading


async def test_progress_of_a_stopped_load_is_not_shown(drive):
    late = []

    async def open_session(settings, *, on_event, **_):
        on_event(ModelLoading(done=1, total=2))

        def afterwards():
            on_event(ModelLoading(done=2, total=2))
            late.append(True)

        try:
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().call_soon(afterwards)

    async with drive([], open_session=open_session, size=(110, 30)) as ui:
        await ui.shows("loading the model")
        await ui.pilot.press("escape")
        await ui.until(lambda: late, "late progress")
        await ui.until(lambda: not ui.app.activity.busy, "stopped")
        await ui.pilot.pause()
        assert not ui.app.activity.busy


def links_to(descriptor, path):
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") == str(path)
    except OSError:
        return False
