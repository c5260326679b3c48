"""The configuration: errors that name file and key, and edits that keep everything else."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.config import load_config
from laguna_agent.config_file import edit_config
from laguna_agent.errors import UsageError

MISTAKES = [
    ("[engine]\ncontxt = 4096\n", "2: unknown key `engine.contxt`\nDid you mean `context`?"),
    ("quiet_please = true\n", "1: unknown key `quiet_please`"),
    ("\ntemperature = 0.5\n", "2: unknown key `temperature`\nIt belongs in [sampling]."),
    ("[tui]\nmodel = 'x'\n", "2: unknown key `tui.model`\nIt belongs above the first [section]."),
    (
        "[engine]\ntemprature = 1\n",
        "2: unknown key `engine.temprature`\nDid you mean `temperature`, in [sampling]?",
    ),
    ("[policies]\nsandbox = false\n", "1: unknown key `policies`\nDid you mean `policy`?"),
    (
        "[[hooks]]\non = 'on_prompt'\ncomand = 'x'\n",
        "3: unknown key `hooks.1.comand` (1 more)\nDid you mean `command`?",
    ),
    ("[limits]\nsteps = 0\n", "2: `limits.steps` should be greater than or equal to 1"),
    ("sampling = 3\n", "1: `sampling` should be a table"),
    ("[providers.box]\n", "1: `providers.box.url` is missing"),
    (
        "[[policy.rules]]\nverdict = 'deny'\ntool = 'x'\n[[policy.rules]]\nverdict = 'maybe'\n",
        "5: `policy.rules.2.verdict` should be 'allow', 'ask' or 'deny'",
    ),
    ("[[policy.rules]]\nverdict = 'deny'\n", "1: `policy.rules.1`: a rule needs exactly one of"),
    (
        "a = 1\nmodel = laguna-xs\n",
        '2 is not valid TOML: invalid value (column 9)\nA text needs quotes: "laguna-xs".',
    ),
    ("offline = True # no\n", "1 is not valid TOML: invalid value (column 11)\nWrite `true`."),
    ("steps = [", " is not valid TOML"),
    (f"steps = {'[' * 5000}", " is nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_names_the_file_the_line_and_the_key(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        load_config(user=path, environment={})
    assert str(raised.value).startswith(f"{path}{'' if message[0] == ' ' else ':'}{message}")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(mark + b'model = "a/b"\r\n')
    assert load_config(user=path, environment={}).model == "a/b"
    edit_config(path, lambda config: config.update(pack="small"))
    assert load_config(user=path, environment={}).pack == "small"


def test_a_file_that_is_not_utf_8_says_so(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('model = "a/b"\n', encoding="utf-16")
    for use in (
        lambda: load_config(user=path, environment={}),
        lambda: edit_config(path, add_server),
    ):
        with pytest.raises(UsageError, match=r"is not UTF-8 text\nSave it as UTF-8\."):
            use()


def test_a_mistake_in_a_variable_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^LAGUNA_MODE: `mode` should be 'ask'"):
        load_config(user=tmp_path / "none", environment={"LAGUNA_MODE": "sometimes"})


def test_what_a_project_may_not_set_is_named_with_its_line(tmp_path: Path) -> None:
    project = tmp_path / "config.toml"
    project.write_text('pack = "x"\n[policy]\nsandbox = false\n')
    with pytest.raises(UsageError, match=r":3: a project may not set `policy\.sandbox`"):
        load_config(user=tmp_path / "none", project=project, environment={})


def add_server(config: MutableMapping[str, Any]) -> None:
    config.setdefault("model", "server/big")
    config.setdefault("providers", {})["server"] = {"url": "http://localhost"}


@pytest.mark.parametrize(
    "text", ["", "# mine\n[tui]\nmouse = false # keep\n", '[providers.old]\nurl = "x"\n[tui]\n']
)
def test_an_edit_keeps_what_was_there(tmp_path: Path, text: str) -> None:
    path = tmp_path / "new" / "config.toml"
    if text:
        path.parent.mkdir()
        path.write_text(text)
    edit_config(path, add_server)
    config = load_config(user=path, environment={})
    assert config.model == "server/big"
    assert config.providers["server"].url == "http://localhost"
    after = path.read_text()
    assert all(line in after.splitlines() for line in text.splitlines())
    edit_config(path, add_server)
    assert path.read_text() == after


def test_a_file_that_cannot_be_edited_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("providers = 3\n")
    with pytest.raises(UsageError, match="a form that laguna cannot add this to"):
        edit_config(path, add_server)
    assert path.read_text() == "providers = 3\n"
