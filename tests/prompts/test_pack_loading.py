"""Packs: where files are found, what overrides what, and what the model reads in the end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.errors import UsageError
from laguna_agent.prompts.loader.layers import BUILT_IN, pack_names
from laguna_agent.prompts.loader.pack import Pack, load_pack
from laguna_agent.prompts.loader.problems import PackError
from laguna_agent.prompts.loader.templates import DYNAMIC, StaticVariables
from laguna_agent.tools.registry import builtin_tools
from support.packs import write_files

STARTER = "qwen2.5-coder-1.5b-instruct"


def load(name: str | None, *directories: Path, model: str = "laguna-xs-2.1") -> Pack:
    return load_pack(name, model_name=model, directories=directories)


def static(**changes: Any) -> StaticVariables:
    return StaticVariables(
        **{"model": "m", "format": "laguna", "tools": ("read", "done")} | changes
    )


def rendered(pack: Pack) -> dict[str, object]:
    """Everything of a pack that can reach the model."""
    tools = builtin_tools()
    variables = static(tools=tuple(pack.tool_names(tools)))
    reminders = pack.reminders()
    return {
        "system.md": pack.system(variables),
        **{name: pack.text(name) for name in DYNAMIC},
        **{f"tools/{tool.name}.md": tool.description for tool in pack.tools(tools, variables)},
        "reminders": [reminders.at(event, step=25) for event in (
            "after_edit", "after_failed_command", "every_n_steps", "before_done"
        )],
        "tools": pack.tool_names(tools),
        "limits": pack.limits,
        "sampling": pack.sampling,
        "format": (pack.chat_format, pack.thinking, pack.thinking_budget),
    }  # fmt: skip


# --- choosing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "pack"),
    [
        ("laguna-xs-2.1", "laguna"),
        ("Laguna-XS-2.1-Q4_K_M", "laguna"),
        (STARTER, "small"),
        ("starter", "small"),
        ("SmolLM2-135M-Instruct", "small"),
        ("qwen3-0.6b", "small"),
        ("llama-3.2-3b-instruct", "small"),
        ("qwen3-30b-a3b", "laguna"),
        ("qwen2.5-coder-32b-instruct", "laguna"),
        ("gpt-oss-20b", "laguna"),
        ("openai/gpt-9", "laguna"),
        ("mlx/glm-4.5-air-3bit", "laguna"),
        ("deepseek-v3-2bit", "laguna"),
        ("qwen2.5-72b-exl2-3.0bpw", "laguna"),
        ("qwen2.5-7b-instruct-1m", "laguna"),
        ("some-model-1m", "laguna"),
        ("mixtral-8x3b", "laguna"),
        ("box/gemma-3-4b-it", "laguna"),
        ("box/gemma-3-1b-it", "small"),
        ("box/gemma-3n-e2b-it", "small"),
        ("box/phi-3.5-mini-instruct", "small"),
        ("lmstudio/llama-3.2-3b-instruct-4bit", "small"),
        ("smol_360m_q8", "small"),
    ],
)
def test_a_model_picks_its_pack_by_its_name(model: str, pack: str) -> None:
    assert load(None, model=model).name == pack


@pytest.mark.parametrize(
    ("model", "parameters", "pack"),
    [
        ("glm-4.5-air-3bit", 106_000_000_000, "laguna"),
        ("my-own-model", 1_540_000_000, "small"),
        ("my-own-3b", 7_600_000_000, "laguna"),
        ("my-own-7b", 3_100_000_000, "small"),
        ("laguna-tiny", 1_000_000, "laguna"),
        ("gemma-3n-e2b", 5_400_000_000, "small"),
    ],
)
def test_the_size_in_the_metadata_counts_more_than_the_one_in_the_name(
    model: str, parameters: int, pack: str
) -> None:
    assert load_pack(None, model_name=model, parameters=parameters).name == pack
    planning = load_pack("plan", model_name=model, parameters=parameters)
    assert planning.chat_format == load(pack).chat_format


def test_a_pack_of_ones_own_may_be_for_models_of_a_size(tmp_path: Path) -> None:
    write_files(tmp_path, {"mine/pack.toml": "models_below = 10\n"})
    assert load(None, tmp_path, model="some-8b").name == "mine"
    assert load(None, tmp_path, model="some-12b").name == "laguna"


def test_the_most_specific_pattern_picks(tmp_path: Path) -> None:
    write_files(tmp_path, {"mine/pack.toml": 'models = ["laguna-xs-2.1*"]\n'})
    assert load(None, tmp_path).name == "mine"
    assert load(None, tmp_path, model="laguna-s").name == "laguna"


def test_the_plan_pack_keeps_what_the_model_needs() -> None:
    pack = load("plan", model=STARTER)
    assert pack.chat_format == "fenced"
    assert "You are planning" in pack.system(static())
    assert not {"edit", "write"} & set(pack.tool_names(builtin_tools()))
    assert load("plan").chat_format is None


def test_an_unknown_pack_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load("lagna", tmp_path)
    assert "`lagna`" in caught.value.message
    assert caught.value.hint == "Did you mean `laguna`?"


# --- overriding -------------------------------------------------------------------------------


def built_in_files() -> list[tuple[str, str]]:
    return [
        (name, str(path.relative_to(BUILT_IN / name)))
        for name in pack_names([])
        for path in sorted((BUILT_IN / name).rglob("*"))
        if path.suffix in (".md", ".toml")
    ]


@pytest.mark.parametrize(("name", "file"), [f for f in built_in_files() if f[1].endswith(".md")])
def test_overriding_a_built_in_text_changes_what_the_model_sees_to_the_byte(
    tmp_path: Path, name: str, file: str
) -> None:
    text = "  Überschrieben:\ttab, 'quotes', \\n, #, $x, {single}, \u2028 and\n\n  two lines  "
    write_files(tmp_path, {f"{name}/{file}": text + "\n"})
    before, after = rendered(load(name)), rendered(load(name, tmp_path))
    seen = {"reminder.md": "reminders"}.get(file, file)
    if seen == "reminders":
        assert after[seen] == [[], [], [("steps", text)], []]
    else:
        assert after[seen] == text
    changed = {key for key in after if before.get(key) != after[key]}
    included = {"epoch.md"} if file == "first.md" else set()
    if seen not in before:
        included.add("tools")  # without front matter, the text enables a tool that was disabled
    assert changed == {seen} | included
    assert load(name).sha256 != load(name, tmp_path).sha256


def test_laguna_uses_every_message_of_the_packs() -> None:
    source = "".join(
        path.read_text() for path in (BUILT_IN.parent / "laguna_agent/agent").rglob("*.py")
    )
    assert [name for name in DYNAMIC if f'"{name}"' not in source] == []
    written = {path.name for path in (BUILT_IN / "base").glob("*.md")}
    assert written == {*DYNAMIC, "system.md", "reminder.md"}


@pytest.mark.parametrize("name", pack_names([]))
def test_overriding_a_built_in_manifest_changes_what_the_model_sees(
    tmp_path: Path, name: str
) -> None:
    write_files(
        tmp_path,
        {
            f"{name}/pack.toml": 'tools = ["done", "read"]\nchat_format = "generic"\n'
            "[limits]\nsteps = 7\n[sampling]\ntop_k = 3\n"
            '[reminders.mine]\non = "before_done"\ntext = "Wait."\n'
        },
    )
    after = load(name, tmp_path)
    assert after.tool_names(builtin_tools()) == ["done", "read"]
    assert (after.chat_format, after.limits.steps, after.sampling["top_k"]) == ("generic", 7, 3)
    assert ("mine", "Wait.") in after.reminders().at("before_done")
    assert after.limits.reply_tokens == load(name).limits.reply_tokens
    assert after.manifest.models == load(name).manifest.models


def test_the_project_goes_before_the_user_and_both_before_the_built_in(tmp_path: Path) -> None:
    project = write_files(tmp_path / "p", {"laguna/system.md": "project"})
    user = write_files(
        tmp_path / "u", {"laguna/system.md": "user", "base/steer.md": "user: {{ text }}"}
    )
    pack = load("laguna", project, user)
    assert pack.system(static()) == "project"
    assert pack.text("steer.md", text="stop") == "user: stop"
    assert load("laguna", user).system(static()) == "user"


def test_super_inserts_the_overridden_file_at_each_level(tmp_path: Path) -> None:
    project = write_files(tmp_path / "p", {"laguna/system.md": "{{ super() }}\nP"})
    user = write_files(tmp_path / "u", {"laguna/system.md": "{{ super() }}\nU"})
    text = load("laguna", project, user).system(static())
    assert text == load("laguna").system(static()) + "\nU\nP"


def test_a_users_pack_inherits_the_rest(tmp_path: Path) -> None:
    write_files(tmp_path, {"mine/pack.toml": 'extends = "small"\n', "mine/steer.md": "!"})
    mine, small = rendered(load("mine", tmp_path)), rendered(load("small"))
    assert mine.pop("steer.md") == "!"
    small.pop("steer.md")
    assert mine == small


def test_a_folder_outside_is_a_pack_too(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "deep" / "laguna", {"system.md": "folder", "pack.toml": ""})
    pack = load(str(folder))
    assert pack.system(static()) == "folder"
    assert pack.text("cut.md", limit=9) == load("base").text("cut.md", limit=9)
    write_files(folder, {"pack.toml": 'extends = "laguna"\n'})
    assert load(str(folder)).thinking is True
    with pytest.raises(UsageError, match="no prompt pack folder"):
        load(str(tmp_path / "nowhere"))


def test_a_cycle_of_packs_is_refused_with_the_line(tmp_path: Path) -> None:
    write_files(tmp_path, {"a/pack.toml": '\nextends = "b"\n', "b/pack.toml": 'extends = "a"\n'})
    with pytest.raises(PackError) as caught:
        load("a", tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/b/pack.toml:1: ")
    assert "a → b → a" in str(caught.value)


# --- rendering --------------------------------------------------------------------------------


def test_the_prefix_is_the_same_each_time_it_is_rendered() -> None:
    for name in pack_names([]):
        first, second = load(name), load(name)
        tools = builtin_tools()
        assert first.system(static()) == second.system(static())
        assert [(t.name, t.description, t.parameters) for t in first.tools(tools)] == [
            (t.name, t.description, t.parameters) for t in second.tools(tools)
        ]
        assert first.sha256 == second.sha256


def test_text_of_users_and_tools_is_inserted_unchanged() -> None:
    nasty = "{{ 7 * 7 }} {% raw %} <|im_end|> & < \\n"
    assert nasty in load("base").text("first.md", memory=nasty, instructions=nasty)
    assert nasty in load("base").text("check_failed.md", command="x", exit_code=1, output=nasty)


def test_the_first_message_has_only_the_given_parts() -> None:
    pack = load("base")
    assert pack.text("first.md") == ""
    text = pack.text(
        "first.md",
        date="2030-01-02",
        cwd="/w",
        files=[{"path": "a.py", "text": "x = 1"}],
        check="pytest -q",
    )
    assert text == (
        "Date: 2030-01-02\nDirectory: /w\na.py:\nx = 1\n"
        "The task is done when this passes: pytest -q\n"
    )


def test_a_template_that_fails_while_rendering_names_its_line(tmp_path: Path) -> None:
    write_files(tmp_path, {"base/cut.md": "one\ntwo {{ limit / 0 }}\n"})
    with pytest.raises(PackError) as caught:
        load("base", tmp_path).text("cut.md", limit=1)
    assert str(caught.value).startswith(f"{tmp_path}/base/cut.md:2: ")


def test_templates_cannot_reach_out_of_the_sandbox(tmp_path: Path) -> None:
    write_files(tmp_path, {"base/cut.md": "{{ limit.__class__.__mro__ }}"})
    with pytest.raises(PackError):
        load("base", tmp_path).text("cut.md", limit=1)


# --- reminders --------------------------------------------------------------------------------


def test_reminders_come_at_their_event_up_to_their_limit(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "base/pack.toml": "[reminders.steps]\nenabled = false\n"
            '[reminders.a]\non = "after_edit"\ntext = "{{ tool }}!"\ntimes = 2\n'
            '[reminders.b]\non = "every_n_steps"\nevery = 3\ntext = "{{ step }}/{{ steps_left }}"\n'
        },
    )
    pack = load("base", tmp_path)
    turn = pack.reminders()
    assert [turn.at("after_edit", tool="write") for _ in range(3)] == [
        [("a", "write!")],
        [("a", "write!")],
        [],
    ]
    due = [turn.at("every_n_steps", step=n, steps_left=9 - n) for n in range(1, 7)]
    assert due == [[], [], [("b", "3/6")], [], [], [("b", "6/3")]]
    assert pack.reminders().at("after_edit", tool="edit") == [("a", "edit!")]


# --- changes on disk --------------------------------------------------------------------------


def test_a_change_on_disk_is_noticed_and_applies_from_the_next_load(tmp_path: Path) -> None:
    write_files(tmp_path, {"laguna/system.md": "one"})
    pack = load("laguna", tmp_path)
    assert not pack.changed()
    write_files(tmp_path, {"laguna/system.md": "two"})
    assert pack.changed()
    assert pack.system(static()) == "one"
    assert pack.reload().system(static()) == "two"
    write_files(tmp_path, {"laguna/system.md": "one"})
    assert not pack.changed()
    write_files(tmp_path, {"laguna/pack.toml": "[sampling]\ntemperature = 0.1\n"})
    assert pack.changed()
    write_files(tmp_path, {"laguna/pack.toml": "nonsense"})
    assert pack.changed()


def test_an_unused_file_does_not_change_the_digest(tmp_path: Path) -> None:
    write_files(tmp_path, {"laguna/system.md": "mine", "base/system.md": "hidden"})
    before = load("laguna", tmp_path).sha256
    write_files(tmp_path, {"base/system.md": "still hidden"})
    assert load("laguna", tmp_path).sha256 == before
    write_files(tmp_path, {"laguna/system.md": "mine {{ super() }}"})
    seen = load("laguna", tmp_path).sha256
    write_files(tmp_path, {"base/system.md": "seen"})
    assert load("laguna", tmp_path).sha256 != seen


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"pack.toml": "\n[reminders.x]\non = 'after_edit'\ntext = '{{ tol }}'"}, "pack.toml:4"),
        ({"pack.toml": "[reminders.z]\non='after_edit'\ntext='{{ cwd }}'"}, "pack.toml:3"),
        (
            {"pack.toml": "[reminders.x]\non='after_edit'\nfile='r.md'", "r.md": "a\n{{ cwd }}"},
            "r.md:2",
        ),
        (
            {"pack.toml": "[reminders.x]\non='after_edit'\nfile='r.md'", "r.md": "{% if %}"},
            "r.md:1",
        ),
    ],
)
def test_a_reminder_that_cannot_be_made_is_found_when_the_pack_is_loaded(
    tmp_path: Path, files: dict[str, str], place: str
) -> None:
    write_files(tmp_path / "mine", files)
    with pytest.raises(PackError, match=re.escape(f"mine/{place}: ")):
        load("mine", tmp_path)


def test_a_reminder_that_fails_in_a_turn_is_left_out(tmp_path: Path) -> None:
    text = "[reminders.x]\non = 'after_edit'\ntext = '{{ step.foo.bar }}'\n"
    text += "[reminders.y]\non = 'after_edit'\ntext = 'Run the tests.'\n"
    write_files(tmp_path / "mine", {"pack.toml": text})
    reminders = load("mine", tmp_path).reminders()
    for step in (1, 2):
        assert reminders.at("after_edit", step=step) == [("y", "Run the tests.")]
    assert list(reminders.failures) == ["x"]
