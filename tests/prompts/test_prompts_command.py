"""`laguna prompts` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from laguna_agent.cli import main
from laguna_agent.events import Reply
from laguna_agent.interfaces.commands.pack_cost import pack_variables
from laguna_agent.prompts.loader.layers import BUILT_IN, pack_names
from laguna_agent.prompts.loader.pack import load_pack
from laguna_agent.tools.registry import builtin_tools
from support.packs import specs_of, write_files
from support.scripted import open_scripted, take


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    monkeypatch.chdir(repository)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "true")
    return repository


@pytest.fixture
def own(laguna_home: Path) -> Path:
    return laguna_home / "config" / "prompts"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["prompts", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_list_marks_the_pack_of_the_model(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    write_files(own, {"mine/pack.toml": 'description = "My own"', "base/cut.md": "x"})
    code, out, _ = run(capsys, "list")
    assert code == 0
    lines = out.split("\n")
    assert any(line.startswith("* laguna ") for line in lines)
    assert any("mine" in line and "user" in line and "My own" in line for line in lines)
    assert any("base" in line and "built-in + user" in line for line in lines)
    _, out, _ = run(capsys, "list", "--json")
    names = {row["name"] for row in json.loads(out)["packs"]}
    assert names == {*pack_names([]), "mine"}


def test_without_a_model_tokens_are_estimated_and_say_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(capsys, "show")
    assert code == 0
    assert "tokens estimated: no model is installed" in out
    _, out, _ = run(capsys, "show", "--json")
    assert json.loads(out)["exact"] is False
    code, _, err = run(capsys, "show", "--pieces")
    assert code == 2
    assert "needs the model's tokenizer" in err


@pytest.mark.slow
def test_show_prints_what_the_model_reads_with_its_own_tokens(
    capsys: pytest.CaptureFixture[str], starter_model: Path
) -> None:
    _, out, _ = run(capsys, "show", "--json", "--model", str(starter_model))
    data = json.loads(out)
    assert data["exact"]
    assert data["pack"] == "small"
    assert data["tokens"] == sum(data["parts"].values())
    _, raw, _ = run(capsys, "show", "--raw", "--model", str(starter_model))
    assert raw == data["prefix"]
    _, shown, _ = run(capsys, "show", "--model", str(starter_model))
    assert shown.startswith(data["prefix"].rstrip("\n"))
    assert "tokens by its own tokenizer" in shown
    _, pieces, _ = run(capsys, "show", "--pieces", "--model", str(starter_model))
    assert pieces.count("│") == data["tokens"] - 1
    assert pieces.replace("│", "").replace("⏎", "").rstrip("\n") == raw.rstrip("\n")


def test_show_one_file_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "laguna", "--file", "tools/edit")
    assert out == (BUILT_IN / "base/tools/edit.md").read_text()
    code, _, err = run(capsys, "show", "laguna", "--file", "sytem.md")
    assert code == 2
    assert "Did you mean `system.md`?" in err


def test_a_new_pack_passes_lint(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    code, out, _ = run(capsys, "new", "mine", "--extends", "small")
    assert code == 0
    assert out.split() == [
        str(own / "mine/pack.toml"),
        str(own / "mine/system.md"),
        str(own / "mine/tools/example.md"),
    ]
    assert 'extends = "small"' in (own / "mine/pack.toml").read_text()
    code, out, _ = run(capsys, "lint", "mine")
    assert code == 0, out
    assert "mine: no problems" in out
    _, mine, _ = run(capsys, "show", "mine", "--raw")
    _, small, _ = run(capsys, "show", "small", "--raw")
    assert mine == small
    tool = own / "mine/tools/example.md"
    tool.write_text(tool.read_text().replace("enabled = false", "enabled = true"))
    _, mine, _ = run(capsys, "show", "mine", "--raw")
    assert "Show the last commits that touched a path." in mine
    assert run(capsys, "lint", "mine")[0] == 0


def test_every_commented_setting_of_a_new_pack_is_valid(
    capsys: pytest.CaptureFixture[str], own: Path
) -> None:
    run(capsys, "new", "mine")
    path = own / "mine/pack.toml"
    lines = path.read_text().split("\n")
    start = lines.index('extends = "base"')
    opened = [
        line.removeprefix("# ") if " = " in line or line.startswith("# [") else line
        for line in lines[start:]
    ]
    path.write_text("\n".join(lines[:start] + opened))
    code, out, _ = run(capsys, "lint", "mine")
    assert code == 0, out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["new", "small"], "the pack `small` already exists"),
        (["new", "../x"], "not a valid pack name"),
        (["new", "mine", "--extends", "smal"], "Did you mean `small`?"),
        (["show", "smol"], "Did you mean `small`?"),
        (["edit", "small", "nothing.md"], "has no file nothing.md"),
        (["lint", "smol"], "there is no prompt pack `smol`"),
    ],
)
def test_mistakes_give_an_error_of_one_or_two_lines(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert says in err
    assert err.count("\n") <= 2


def test_edit_opens_your_own_copy_and_checks_it(
    capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "{{ modle }}" >> "$2"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", f"'{editor}' --wait")
    code, out, _ = run(capsys, "edit", "laguna", "system")
    path = own / "laguna/system.md"
    built_in = (BUILT_IN / "base/system.md").read_text()
    assert path.read_text() == built_in + "{{ modle }}\n"
    assert code == 1
    lines = built_in.count("\n") + 1
    assert f"{path}:{lines}: unknown variable `modle`\n  Did you mean `model`?" in out


def test_an_edit_without_changes_leaves_no_copy(
    capsys: pytest.CaptureFixture[str], own: Path
) -> None:
    code, out, _ = run(capsys, "edit", "laguna", "tools/read")
    assert (code, out) == (0, "nothing was changed\n")
    assert not (own / "laguna/tools/read.md").exists()


def test_diff_is_against_the_built_in(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    assert run(capsys, "diff", "base") == (0, "", "")
    write_files(own, {"base/cut.md": "Shorter.\n", "base/tools/mine.md": "+++\n+++\n"})
    code, out, _ = run(capsys, "diff", "base", "cut")
    assert code == 0
    assert out.startswith(f"--- built-in/base/cut.md\n+++ {own}/base/cut.md\n")
    assert "\n+Shorter.\n" in out
    _, out, _ = run(capsys, "diff", "base")
    assert "--- /dev/null" in out


def test_diff_shows_what_is_inherited_as_unchanged(
    capsys: pytest.CaptureFixture[str], own: Path
) -> None:
    files = {
        "team/pack.toml": 'extends = "small"\n[limits]\nsteps = 7\n',
        "team/system.md": "{{ super() }}\nSpeak plainly.\n",
        "team/tools/read.md": "{{ super() }}\nRead whole files.\n",
        "small/pack.toml": "[limits]\nreply_tokens = 64\n",
    }
    write_files(own, files)
    expected = {"team": {"limits.steps", "limits.reply_tokens"}, "small": {"limits.reply_tokens"}}
    for pack, keys in expected.items():
        code, out, _ = run(capsys, "diff", pack, "pack.toml")
        changes = [line for line in out.splitlines()[2:] if line.startswith(("+", "-"))]
        assert (code, {line[1:].partition(" = ")[0] for line in changes} - {"extends"}) == (0, keys)
    for name, added in (("system", "+Speak plainly."), ("tools/read", "+Read whole files.")):
        _, out, _ = run(capsys, "diff", "team", name)
        changes = [line for line in out.splitlines()[2:] if line.startswith(("+", "-"))]
        assert changes[-1:] == [added]
        assert not any(line.startswith("-") and line.strip("-+") for line in changes)


@pytest.mark.parametrize("editor", ["/nowhere/editor", "false", 'vi "', "no-such-editor --wait"])
def test_an_editor_that_fails_leaves_no_copy(
    capsys: pytest.CaptureFixture[str], own: Path, monkeypatch: pytest.MonkeyPatch, editor: str
) -> None:
    monkeypatch.setenv("EDITOR", editor)
    code, out, err = run(capsys, "edit", "laguna", "tools/read")
    assert code == 2 or (code, out) == (0, "nothing was changed\n")
    assert len(err.splitlines()) <= 2
    assert not (own / "laguna").exists()


def test_a_byte_order_mark_is_no_part_of_a_file(
    capsys: pytest.CaptureFixture[str], own: Path
) -> None:
    files = {
        "team/pack.toml": 'extends = "base"\ndescription = "Ours"\n',
        "team/system.md": "We are a team.\n",
        "team/tools/read.md": "+++\nmax_output = 300\n+++\nReads.\n",
        "team/tools/count.md": '+++\ncommand = "wc -l"\nkind = "read"\n+++\nCounts.\n',
    }
    for name, text in files.items():
        path = own / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8-sig")
    code, out, _ = run(capsys, "lint", "team")
    assert (code, "team: " in out) == (0, True), out
    _, out, _ = run(capsys, "show", "team", "--raw")
    assert "\ufeff" not in out
    assert "+++" not in out
    assert "We are a team." in out
    pack = load_pack("team", model_name="m", directories=[own])
    assert pack.tool_files["read"].head.max_output == 300
    (own / "team/pack.toml").write_text("extend = 'base'\n", encoding="utf-8-sig")
    code, out, _ = run(capsys, "lint", "team")
    assert f"{own}/team/pack.toml:1: unknown key `extend`" in out


def test_a_trusted_projects_choice_of_a_pack_counts(
    capsys: pytest.CaptureFixture[str], somewhere: Path
) -> None:
    from laguna_agent.policy.trust import trust

    files = {".laguna/config.toml": 'pack = "team"\n', ".laguna/prompts/team/system.md": "Ours."}
    write_files(somewhere, files)
    _, out, _ = run(capsys, "list")
    assert "* team" not in out
    trust(somewhere)
    _, out, _ = run(capsys, "list")
    assert "\n* team " in out
    _, out, _ = run(capsys, "show", "--raw")
    assert "Ours." in out


def test_lint_reports_problems_as_json(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    write_files(own, {"mine/system.md": "\n{{ date }}"})
    code, out, _ = run(capsys, "lint", "--json")
    assert code == 1
    [problem] = json.loads(out)["mine"]["problems"]
    assert (problem["file"], problem["line"]) == (str(own / "mine/system.md"), 2)


def test_a_projects_packs_are_read_only_when_it_is_trusted(
    capsys: pytest.CaptureFixture[str], somewhere: Path
) -> None:
    from laguna_agent.policy.trust import trust

    write_files(somewhere, {".laguna/prompts/base/system.md": "from the project"})
    _, out, err = run(capsys, "show", "laguna", "--raw")
    assert "from the project" not in out
    assert "not trusted" in err
    trust(somewhere)
    _, out, _ = run(capsys, "show", "laguna", "--raw")
    assert "from the project" in out


@pytest.mark.slow
def test_a_closed_pipe_is_not_an_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m laguna_agent.cli prompts show laguna | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""


async def test_show_prints_what_a_session_uses(own: Path, somewhere: Path) -> None:
    static = "{{ tools | join(' ') }} {{ model }} {{ format }} {{ thinking }}"
    write_files(own, {"base/system.md": static, "base/tools/read.md": f"Reads. {static}"})
    session, conversation = await open_scripted(somewhere, [Reply(text="ok")], directories=[own])
    await take(session, "Hello")
    await session.aclose()
    pack = load_pack("base", model_name="scripted", directories=[own])
    variables = pack_variables(pack, builtin_tools(), "scripted", "scripted")
    assert conversation.system == pack.system(variables)
    assert conversation.system.startswith("read edit write")
    assert conversation.tools == specs_of(pack.tools(builtin_tools(), variables))
    assert conversation.tools[0].description == f"Reads. {conversation.system}"
