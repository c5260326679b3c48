"""Trust in a repository's settings, and escaping of shown text."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from laguna_agent import paths
from laguna_agent.errors import UsageError
from laguna_agent.policy.sanitize import is_plain, visible
from laguna_agent.policy.trust import content, forget, is_trusted, trust, was_trusted


@pytest.fixture
def project(workspace: Path) -> Path:
    settings = workspace / ".laguna"
    (settings / "prompts").mkdir(parents=True)
    (settings / "config.toml").write_text('[[hooks]]\nevent = "stop"\ncommand = "./x.sh --now"\n')
    (settings / "prompts" / "system.md").write_text("be good\n")
    (workspace / "AGENTS.md").write_text("use tabs\n")
    return workspace


def test_nothing_is_trusted_at_first(project: Path) -> None:
    assert not is_trusted(project)
    found = trust(project)
    assert is_trusted(project)
    assert set(found.files) == {
        "AGENTS.md",
        ".laguna/config.toml",
        ".laguna/prompts/system.md",
        "x.sh",
    }


@pytest.mark.slow
def test_folders_below_folders_are_covered_to_any_depth(project: Path) -> None:
    before = os.getcwd()
    os.chdir(project / ".laguna")
    try:  # a step at a time: the whole path is longer than a path may be
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(before)
    try:
        assert not is_trusted(project)
        trust(project)
        assert is_trusted(project)
    finally:  # pytest could not
        subprocess.run(["rm", "-rf", str(project / ".laguna" / "d")], check=True)


HOOK = '[[hooks]]\non = "turn_end"\ncommand = "./x.sh --now"\n'
TOOL = "+++\ncommand = './x.sh {path}'\n+++\nRuns it.\n"


@pytest.mark.parametrize(
    ("name", "text", "command"),
    [
        ("config.toml", HOOK, "./x.sh --now"),
        ("config.toml", "\ufeff" + HOOK, "./x.sh --now"),
        ("prompts/base/tools/mine.md", TOOL, "./x.sh {path}"),
        ("prompts/base/tools/mine.md", "\ufeff" + TOOL, "./x.sh {path}"),
        ("prompts/base/tools/mine.md", TOOL.replace("+++\n", " +++ \n"), "./x.sh {path}"),
        ("prompts/base/tools/mine.md", TOOL.replace("path}", "path} +++"), "./x.sh {path} +++"),
    ],
)
def test_commands_are_named_and_their_scripts_covered_as_they_are_read(
    workspace: Path, name: str, text: str, command: str
) -> None:
    path = workspace / ".laguna" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (workspace / "x.sh").write_text("exit\n")
    found = content(workspace)
    assert found.commands == ((f".laguna/{name}", command),)
    assert "x.sh" in found.files


def test_a_repository_without_anything_to_trust_has_nothing(workspace: Path) -> None:
    assert content(workspace).empty
    assert not is_trusted(workspace)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / ".laguna/config.toml").write_text("# other\n"),
        lambda root: (root / ".laguna/new.toml").write_text(""),
        lambda root: (root / ".laguna/prompts/system.md").unlink(),
        lambda root: (root / ".laguna/prompts/system.md").rename(root / ".laguna/prompts/s.md"),
        lambda root: (root / ".laguna/config.toml").chmod(0o755),
        lambda root: (root / "AGENTS.md").write_text("run rm\n"),
        lambda root: (root / "x.sh").write_text("#!/bin/sh\nrm -rf /\n"),
        lambda root: (root / ".laguna/link").symlink_to("/etc/passwd"),
        lambda root: os.mkfifo(root / ".laguna/pipe"),
    ],
)
def test_a_change_asks_again(change: object, project: Path) -> None:
    trust(project)
    assert callable(change)
    change(project)
    assert not is_trusted(project)
    assert was_trusted(project)


def test_a_change_of_another_file_does_not_ask(project: Path) -> None:
    trust(project)
    (project / "README.md").write_text("other\n")
    assert is_trusted(project)


def test_trust_covers_one_directory(project: Path, tmp_path: Path) -> None:
    trust(project)
    other = tmp_path / "other"
    project.rename(other)
    assert not is_trusted(other)


def test_only_the_shown_content_is_trusted(project: Path) -> None:
    shown = content(project).digest
    (project / ".laguna" / "config.toml").write_text("# changed in between\n")
    with pytest.raises(UsageError, match="changed"):
        trust(project, shown)
    assert not is_trusted(project)


def test_trust_can_be_revoked(project: Path) -> None:
    trust(project)
    assert forget(project)
    assert not is_trusted(project)
    assert not forget(project)


def test_links_are_not_trusted(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (project / ".laguna").rename(elsewhere)
    (project / ".laguna").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="plain directory"):
        trust(project)
    assert not is_trusted(project)


def test_two_files_have_another_digest_than_one(workspace: Path) -> None:
    settings = workspace / ".laguna"
    settings.mkdir()
    (settings / "a").write_text("bc")
    first = content(workspace).digest
    (settings / "a").unlink()
    (settings / "ab").write_text("c")
    assert content(workspace).digest != first


def test_trust_is_stored_privately_in_laguna_s_state(project: Path) -> None:
    trust(project)
    file = paths.state_dir() / "trust.json"
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"trusted": 1}', '{"trusted": {"/": 2}}'])
def test_a_damaged_record_trusts_nothing(text: str, project: Path) -> None:
    paths.state_dir().mkdir(parents=True, exist_ok=True)
    (paths.state_dir() / "trust.json").write_text(text)
    assert not is_trusted(project)
    trust(project)
    assert is_trusted(project)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", "\\x1b]8;;http://evil\\x07link\\x1b]8;;\\x07"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("ls\rrm -rf x", "ls\\x0drm -rf x"),
        ("rm\b\bls", "rm\\x08\\x08ls"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("a\u200bb\u200dc\ufeff", "a\\u200bb\\u200dc\\ufeff"),
        ("a\u2028b", "a\\u2028b"),
        ("\U000e0061", "\\U000e0061"),
        ("\udc80", "\\x80"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("rm\u200c -rf \u200d/", "rm\\u200c -rf \\u200d/"),
        ("👩\u200dls", "👩\\u200dls"),
        ("ls\u200d👩", "ls\\u200d👩"),
        ("👩\u200d", "👩\\u200d"),
        ("👩\u200c💻", "👩\\u200c💻"),
        ("👩\u200d\u200d💻", "👩\\u200d\\u200d💻"),
        ("می\u200c.txt", "می\\u200c.txt"),
        ("می\u202eخواهم", "می\\u202eخواهم"),
        ("rm\ufe0f", "rm\\ufe0f"),
        ("\ufe0f", "\\ufe0f"),
        ("❤\ufe0f\ufe0e", "❤\ufe0f\\ufe0e"),
        ("🏴\U000e0061\U000e007f", "🏴\\U000e0061\\U000e007f"),
        ("🏴 \U000e0067", "🏴 \\U000e0067"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert not is_plain(text)
    assert is_plain(visible(text))


@pytest.mark.parametrize(
    "text",
    [
        *("plain\ttext\n", "[red]x[/] [@click=app.quit]y[/]", "naïve 日本語 עברית 🙂", "\\x1b"),
        *(
            "👩\u200d💻",
            "👨\u200d👩\u200d👧\u200d👦",
            "🏳\ufe0f\u200d🌈",
            "👩🏽\u200d❤\ufe0f\u200d👩🏾",
        ),
        *("می\u200cخواهم", "क्\u200dष", "ශ්\u200dරී", "1\ufe0f\u20e3", "❤\ufe0f"),
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    ],
)
def test_plain_text_is_unchanged(text: str) -> None:
    assert visible(text) == text
    assert is_plain(text)


def test_a_file_name_stays_on_one_line() -> None:
    assert visible("a\nb\tc", single_line=True) == "a\\nb\\tc"
