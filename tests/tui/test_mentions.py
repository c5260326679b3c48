"""Names after `@`: searched while they are read in the background."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from laguna_agent.events import Reply
from laguna_agent.interfaces.tui.mentions import mention_source
from laguna_agent.interfaces.tui.mentions.fuzzy import FuzzyMatch, Names
from laguna_agent.interfaces.tui.mentions.mention_source import Matches, MentionSource
from laguna_agent.tools.code.definitions import Batch


class Slow:
    """A listing that comes in two parts, the second when the gate opens."""

    def __init__(self, files: mention_source._FileNames) -> None:
        self.gate = threading.Event()
        files._listed = self.listed  # type: ignore[method-assign]

    def listed(self) -> Iterator[bytes]:
        yield b"\0".join(b"early/cart_%03d.py" % number for number in range(600))
        self.gate.wait(30)
        yield b"late/cart.py\0late/zebra.py"


def offered(app) -> list[str]:
    return [name for name, _ in app.completion_list.choices]


@pytest.mark.slow
async def test_the_list_fills_while_files_are_read_and_shows_the_progress(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        slow = Slow(ui.app.mentions.files)
        await ui.pilot.press(*"@cart")
        await ui.shows("reading files: 601 so far")
        assert "@early/cart_000.py" in offered(ui.app)
        await ui.pilot.press("down", "down")
        marked = ui.app.completion_list.chosen
        slow.gate.set()
        await ui.until(lambda: "@late/cart.py" in offered(ui.app), "what came later")
        await ui.until(lambda: "reading" not in ui.shown, "the end of reading")
        assert ui.app.completion_list.chosen == marked  # not the choice now in its row


async def test_a_closed_list_stays_closed_while_files_are_read(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        slow = Slow(ui.app.mentions.files)
        await ui.pilot.press(*"@zebra")
        await ui.shows("reading files")  # no match yet
        await ui.pilot.press("escape")
        slow.gate.set()
        await ui.until(ui.app.mentions.files.ended.is_set, "the end of reading")
        await ui.until(lambda: not ui.app.workers, "the end of the search")
        assert not ui.app.completion_list.display


@pytest.mark.slow
async def test_tab_accepts_the_best_match_when_it_is_found_later(drive):
    async with drive([Reply(text="x")]) as ui:
        await ui.idle()
        slow = Slow(ui.app.mentions.files)
        await ui.pilot.press(*"see @zebra", "tab")
        slow.gate.set()
        await ui.until(lambda: ui.app.composer.text == "see @late/zebra.py ", "the completion")
        assert ui.app.composer.has_focus


async def search(names: MentionSource, query: str) -> list[Matches]:
    found: list[Matches] = []
    await names.search(query, found.append)
    return found


@pytest.mark.slow
async def test_new_files_and_changed_definitions_are_found_the_next_time(
    repository: Path, laguna_home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mention_source, "_FRESH_S", 0.0)
    names = MentionSource(repository)
    try:
        assert FuzzyMatch("calc.py:1", "add") in (await search(names, "add"))[-1].hits
        (repository / "calc.py").write_text("import math\n\n\ndef add(a, b):\n    return a + b\n")
        (repository / "adder.py").write_text("def added():\n    pass\n")
        hits = (await search(names, "add"))[-1].hits
        assert {
            FuzzyMatch("adder.py"),
            FuzzyMatch("calc.py:4", "add"),
            FuzzyMatch("adder.py:1", "added"),
        } <= set(hits)
        assert FuzzyMatch("calc.py:1", "add") not in hits
    finally:
        names.close()


async def test_without_git_files_are_found_and_ignored_ones_are_not(tmp_path: Path):
    (tmp_path / ".gitignore").write_text("made/\n")
    for name in ("src/deep/cart.py", "made/cart.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    names = MentionSource(tmp_path)
    assert [hit.name for hit in (await search(names, "cart"))[-1].hits] == ["src/deep/cart.py"]
    assert [hit.name for hit in (await search(names, "src"))[-1].hits][:1] == ["src/"]
    names.close()


async def test_the_limit_of_files_without_git_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mention_source, "MAX_WALKED", 5)
    for number in range(9):
        (tmp_path / f"f{number}").touch()
    names = MentionSource(tmp_path)
    found = (await search(names, "f"))[-1]
    assert (len(found.hits), found.note) == (5, "only the first 5 files")
    names.close()


@pytest.mark.parametrize(
    ("left_out", "status", "note"),
    [
        (7, 0, "symbols of 1 file"),
        (0, 0, ""),
        (0, 1, "some symbols could not be read"),
    ],
)
async def test_missing_symbols_are_shown(repository, laguna_home, left_out, status, note):
    batch = Batch(
        done=1, total=1, left_out=left_out, paths=["calc.py"], found=[("add", "calc.py:1")]
    )
    program = f"import sys; sys.stdin.read(); print({json.dumps(batch)!r}); sys.exit({status})"
    names = MentionSource(repository)
    names.symbols._start = lambda: subprocess.Popen(  # type: ignore[method-assign]
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    found = await search(names, "add")
    assert (found[-1].hits, found[-1].note) == ([FuzzyMatch("calc.py:1", "add")], note)
    names.close()


async def test_close_ends_reading(repository: Path, laguna_home: Path):
    names = MentionSource(repository)
    started: list[subprocess.Popen[bytes]] = []
    start = names.symbols._start

    def starting() -> subprocess.Popen[bytes]:
        started.append(start())
        return started[-1]

    names.symbols._start = starting  # type: ignore[method-assign]
    searching = asyncio.create_task(search(names, "add"))
    while not started:
        await asyncio.sleep(0.001)
    searching.cancel()
    await asyncio.wait([searching])
    names.close()
    assert started[0].returncode is not None
    assert names.files.ended.is_set()
    assert names.symbols.ended.is_set()


def test_the_best_match_is_found_among_very_many_names():
    many = [f"src/cart_{number:05}/item_{number:05}.py" for number in range(30_000)]
    names = Names([*many, "deep/er/cart.py", "Deep/CART"])
    assert [hit.name for hit in names.find("cart", 2)] == ["Deep/CART", "deep/er/cart.py"]
    assert names.find("ct29999py")[0].name == many[-1]
    assert names.find("cart", stopped=lambda: True) == []


def test_a_name_is_found_once_with_its_description():
    names = Names()
    names.add([FuzzyMatch(f"name{number}", f"a.py:{number}") for number in range(5_000)])
    names.add([FuzzyMatch("name7", "b.py:1"), FuzzyMatch("two\nlines", "c.py:1")])
    assert names.find("name4321") == [FuzzyMatch("name4321", "a.py:4321")]
    assert names.find("name7", 1) == [FuzzyMatch("name7", "a.py:7")]
    assert names.find("lines") == []
    changed = names.changed([FuzzyMatch("new", "b.py:2")], lambda hit: hit.about == "a.py:4321")
    assert names.find("name4321") != changed.find("name4321")
    assert changed.find("", 1) == [FuzzyMatch("new", "b.py:2")]
