"""Help on one screen, commands that are mistyped, completion, and `laguna config`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from laguna_agent.cli import COMMANDS, main
from laguna_agent.interfaces.commands.completion import names, places
from laguna_agent.interfaces.commands.flags import make_parser
from laguna_agent.paths import repository_state_dir
from support.packs import write_files

Captured = pytest.CaptureFixture[str]
RUN = f"{sys.executable} -m laguna_agent.cli"


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"], ["--task", "x", "--help"]])
def test_the_help_is_one_screen_with_every_command_and_flag(
    arguments: list[str], capsys: Captured
) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    flags = {flag for action in make_parser()._actions for flag in action.option_strings}
    assert {*COMMANDS, *flags} - {"-h"} <= set(re.findall(r"[\w-]+", out))


def test_the_help_needs_no_parser() -> None:
    code = (
        "import sys; from laguna_agent.cli import main; main(['--help']); "
        "assert not {'argparse', 'pydantic', 'laguna_agent.log'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_examples_that_its_parser_takes(command: str, capsys: Captured) -> None:
    assert main(["help", command]) == 0
    out = capsys.readouterr().out
    examples = out.partition("examples:\n")[2].splitlines()
    assert examples
    parser = import_module(f"laguna_agent.interfaces.commands.{command}").make_parser()
    for example in examples:
        line = example.partition("  #")[0].replace("source <(", "").replace(")", "")
        words = shlex.split(line.partition(" > ")[0])
        assert words[:2] == ["laguna", command]
        parser.parse_args(words[2:])


def test_the_flags_are_explained(capsys: Captured) -> None:
    assert main(["help", "flags"]) == 0
    assert "stop after N replies" in capsys.readouterr().out


# --- what is no command -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["modles"], "there is no command `modles`\nDid you mean `laguna models`?"),
        (["modles", "list"], "Did you mean `laguna models`?"),
        (["modles", "--help"], "Did you mean `laguna models`?"),
        (["session", "show", "abc", "--replay"], "Did you mean `laguna sessions`?"),
        (["undoo"], "Did you mean `laguna undo`?"),
        (["hlep"], "Did you mean `laguna help`?"),
        (["help", "modles"], "Did you mean `laguna models`?"),
        (["help", "fly"], "there is no command `fly`\n`laguna help` lists the commands."),
        (["--offline", "modles"], "A text that is meant goes behind --: laguna -- modles"),
        (["--offline", "models", "list"], "`models` is a command and comes first: laguna models"),
        (["models", "lst"], "Did you mean `list`? `laguna models --help` shows how."),
        (["models", "list", "--jsno"], "Did you mean `--json`?"),
        (["--task", "x", "--modell", "y"], "Did you mean `--model`?"),
    ],
)
def test_a_mistyped_word_is_an_error_with_the_word_that_was_meant(
    arguments: list[str], message: str, capsys: Captured
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["fix the failing test"],
        ["model the tree as a list"],
        ["model", "the", "tree", "as", "a", "list"],
        ["hello"],
        ["test"],
        ["--", "models"],
        ["--", "modles"],
        ["--offline", "--", "undo"],
        ["models, and how to choose one"],
        ["modéliser"],
    ],
)
def test_a_prompt_stays_a_prompt(
    arguments: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str | None] = []

    def run_tui(start: object, *, prompt: str | None, cwd: Path | None, resumes: bool) -> int:
        prompts.append(prompt)
        return 0

    monkeypatch.setattr("laguna_agent.interfaces.tui.run_tui", run_tui)
    assert main(arguments) == 0, capsys.readouterr().err
    assert prompts == [" ".join(word for word in arguments if not word.startswith("--"))]


# --- completion -------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path, laguna_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    (root / ".git").mkdir(parents=True)
    state = repository_state_dir(root)
    write_files(state, {"sessions/261128-1/meta.json": "", "memory/261128-1-s1.md": ""})
    index = json.dumps({"models": {"mine": {"file": "m.gguf"}}})
    write_files(laguna_home / "data/models", {"index.json": index})
    write_files(laguna_home / "config/prompts", {"team/pack.toml": ""})
    monkeypatch.chdir(root)
    return root


@pytest.mark.usefixtures("repository")
def test_names_are_those_that_are_there(capsys: Captured) -> None:
    assert names("sessions") == ["261128-1"]
    assert names("memories") == ["261128-1-s1"]
    assert names("models") == ["mine"]
    assert {"team", "base", "laguna"} <= set(names("packs"))
    assert "_new" not in names("packs")
    assert main(["completion", "--names", "models"]) == 0
    assert capsys.readouterr().out == "mine\n"


def test_a_name_that_a_shell_would_expand_is_not_offered(
    repository: Path, laguna_home: Path, capsys: Captured
) -> None:
    canary = repository / "canary"
    index = json.dumps({"models": {f"$(touch {canary})": {}, "`id`": {}, "a b": {}, "good:1": {}}})
    write_files(laguna_home / "data/models", {"index.json": index})
    assert main(["completion", "bash"]) == 0
    env = {**os.environ, "SCRIPT": capsys.readouterr().out}
    script = BASH % RUN.replace("%", "%%") + "ask laguna --model ''"
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, check=False)
    assert done.stdout == b"good:1\n", done.stderr
    assert not canary.exists()


def test_names_need_no_heavy_module(repository: Path) -> None:
    code = (
        "import sys; from laguna_agent.cli import main; main(['completion', '--names', 'models']); "
        "assert not {'pydantic', 'jinja2', 'httpx'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"mine\n", b"")


BASH = """
eval "$SCRIPT"
laguna() { %s "$@"; }
ask() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _laguna
    printf '%%s\\n' "${COMPREPLY[*]}"
}
"""


@pytest.mark.usefixtures("repository")
def test_bash_completes_commands_actions_flags_values_and_names(capsys: Captured) -> None:
    asked = {
        "laguna mod": "models",
        "laguna models l": "list",
        "laguna models show ": "mine",
        "laguna --mo": "--model --mode",
        "laguna --mode a": "ask accept-edits auto allow-all",
        "laguna --pack te": "team",
        "laguna --model x --resume ": "261128-1",
        "laguna sessions export --format h": "html",
        "laguna models show --j": "--json",
        "laguna completion z": "zsh",
        "laguna memory forget 26": "261128-1-s1",
    }
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    lines = [f"ask {' '.join(map(shlex.quote, line.split(' ')))}" for line in asked]
    done = subprocess.run(
        ["bash", "-c", BASH % RUN.replace("%", "%%") + "\n".join(lines)],
        env={**os.environ, "SCRIPT": script},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == list(asked.values()), done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_command_and_flag(shell: str, capsys: Captured) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for place in places():
        assert all(name in script for name in place.next)
        for flag in place.flags:
            for spelling in flag.spellings:
                assert (spelling if shell == "zsh" else spelling.lstrip("-")) in script


# --- config -----------------------------------------------------------------------------------


def test_config_shows_each_value_and_where_it_comes_from(
    repository: Path, laguna_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    text = (
        '# mine\npack = "a"\nmode = "auto"\n\n[sampling]\ntemperature = 0.5\n'
        '[providers.box]\nurl = "http://me:secret@box/v1"\n'
    )
    write_files(laguna_home / "config", {"config.toml": text})
    write_files(repository, {".laguna/config.toml": 'pack = "team"\n'})
    monkeypatch.setenv("LAGUNA_MODE", "ask")
    file = laguna_home / "config/config.toml"

    def shown() -> dict[str, dict[str, object]]:
        assert main(["config", "show", "--json"]) == 0
        found: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)
        return found

    found = shown()
    assert found["pack"] == {"value": "a", "source": f"{file}:2"}
    assert found["mode"] == {"value": "ask", "source": "LAGUNA_MODE"}
    assert found["sampling.temperature"] == {"value": 0.5, "source": f"{file}:6"}
    assert found["providers.box.url"]["source"] == f"{file}:8"
    assert "secret" not in str(found["providers.box.url"]["value"])
    assert found["engine.keep_alive"] == {"value": 600, "source": "default"}
    assert main(["trust", "--yes"]) == 0
    capsys.readouterr()
    project = repository / ".laguna/config.toml"
    assert shown()["pack"] == {"value": "team", "source": f"{project}:1"}
    assert main(["config", "show", "sampling"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert main(["config", "show", "samplings"]) == 2
    assert "Did you mean `sampling`?" in capsys.readouterr().err
    assert main(["config", "path"]) == 0
    assert capsys.readouterr().out == f"{file}\n"


def test_config_edit_checks_the_file_and_leaves_none_that_says_nothing(
    laguna_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    file = laguna_home / "config/config.toml"
    editor = tmp_path / "editor"
    for name in ("true", "/nowhere/editor", "false", 'vi "'):
        monkeypatch.setenv("VISUAL", name)
        assert main(["config", "edit"]) in (0, 2)
        assert not file.parent.exists()
    editor.write_text("#!/bin/sh\necho 'contxt = 1' >> \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    capsys.readouterr()
    assert main(["config", "edit"]) == 2
    assert "unknown key `contxt`" in capsys.readouterr().err
    editor.write_text('#!/bin/sh\necho \'pack = "base"\' > "$1"\n')
    assert main(["config", "edit"]) == 0  # a wrong file can be edited
    assert file.read_text() == 'pack = "base"\n'
    assert file.stat().st_mode & 0o077 == 0


# --- doctor -----------------------------------------------------------------------------------


def test_doctor_says_in_a_line_what_to_type(
    repository: Path, laguna_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    from laguna_agent.interfaces.commands import doctor

    monkeypatch.setattr(doctor, "find_program", {"apt-get": "/usr/bin/apt-get"}.get)
    write_files(repository, {f"{n}/AGENTS.md": "x" for n in "abcdefg"})
    (laguna_home / "data/models/index.json").unlink()
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[1]: line for line in lines}
    assert len(found) == len(lines)
    assert "→ sudo apt-get install git" in found["git"]
    assert "→ sudo apt-get install ripgrep" in found["rg"]
    assert "→ laguna models pull" in found["model"]
    assert "→ laguna trust" in found["trust"]
    assert all(f"{name}/AGENTS.md" in found["trust"] for name in "abcdefg")


def test_doctor_names_a_mistake_in_the_configuration_once(
    laguna_home: Path, capsys: Captured
) -> None:
    write_files(laguna_home / "config", {"config.toml": "temperature = 1\n"})
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert out.count("unknown key `temperature`") == 1
    assert "config.toml:1: unknown key `temperature` → It belongs in [sampling]." in out
