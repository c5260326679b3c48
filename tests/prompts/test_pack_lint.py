"""Lint: each problem with its file, its line and its fix."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from laguna_agent.models.chat import FORMATS
from laguna_agent.prompts.loader.layers import pack_names
from laguna_agent.prompts.loader.lint import lint_pack
from laguna_agent.prompts.loader.pack import load_pack
from laguna_agent.prompts.loader.problems import PackError
from laguna_agent.tools.registry import builtin_tools
from support.packs import write_files


def lint(root: Path, name: str = "base", tokens: int = 0) -> list[str]:
    problems = lint_pack(
        name,
        model_name="laguna-xs-2.1",
        directories=[root],
        builtin=builtin_tools(),
        chat_formats=FORMATS,
        count=lambda pack, static: tokens,
    )
    return [str(p).replace(f"{root}/", "").replace("\n  ", " | ") for p in problems]


@pytest.mark.parametrize("name", pack_names([]))
def test_built_in_packs_have_nothing_wrong(tmp_path: Path, name: str) -> None:
    assert lint(tmp_path, name) == []


CASES = tomllib.loads(Path(__file__).with_name("lint_cases.toml").read_text())["case"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["says"][:60])
def test_a_problem_is_reported_with_file_line_and_fix(tmp_path: Path, case: dict[str, str]) -> None:
    write_files(tmp_path, {f"mine/{case['file']}": case["text"]})
    found = lint(tmp_path, "mine")
    assert len(found) == 1, found
    assert case["says"] in found[0], found


def test_a_prompt_shows_no_calls_in_a_form_that_is_not_in_use(tmp_path: Path) -> None:
    headings = "Rules\n### Reading files\n### `read` and others\n#### read\nx #### y"
    write_files(tmp_path, {"mine/system.md": headings})
    assert lint(tmp_path, "mine") == []
    files = {
        "mine/pack.toml": 'extends = "small"\nchat_format = "chatml"',
        "mine/system.md": "{{ super() }}",
    }
    write_files(tmp_path, files)
    assert lint(tmp_path, "mine") == []
    text = "{{ super() }}\nCall in <tool_call>."
    write_files(tmp_path, {"mine/pack.toml": 'extends = "small"', "mine/system.md": text})
    [problem] = lint(tmp_path, "mine")
    assert "shows calls as `<tool_call>`, and the chat format `fenced` has others" in problem


def test_a_file_that_the_prefix_includes_is_checked_like_it(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {"mine/system.md": "{% include 'part.md' %}", "mine/part.md": "today is\n{{ date }}"},
    )
    [problem] = lint(tmp_path, "mine")
    assert problem.startswith("mine/part.md:2: `date` changes between runs")


def test_an_overridden_file_is_checked_when_super_inserts_it(tmp_path: Path) -> None:
    write_files(tmp_path, {"mine/pack.toml": 'extends = "other"', "other/system.md": "{{ date }}"})
    assert lint(tmp_path, "mine")
    write_files(tmp_path, {"mine/system.md": "x"})
    assert lint(tmp_path, "mine") == []
    write_files(tmp_path, {"mine/system.md": "x {{ super() }}"})
    assert lint(tmp_path, "mine")


def test_a_budget_that_is_exceeded_names_the_line_that_sets_it(tmp_path: Path) -> None:
    write_files(tmp_path, {"mine/pack.toml": "\n[limits]\nprefix_tokens = 50\n"})
    assert lint(tmp_path, "mine", tokens=50) == []
    [problem] = lint(tmp_path, "mine", tokens=81)
    assert problem.startswith(
        "mine/pack.toml:3: the static prefix has 81 tokens, 31 over its budget"
    )


def test_a_listed_tool_that_another_file_disables_is_reported_with_both_ways_out(
    tmp_path: Path,
) -> None:
    disabled = "+++\nenabled = false\n+++\nx"
    write_files(tmp_path, {"base/tools/git.md": disabled, "mine/pack.toml": 'tools = ["git"]'})
    [problem] = lint(tmp_path, "mine")
    assert problem == (
        "mine/pack.toml:1: the tool `git` is in `tools` but not enabled | Take it out of "
        "`tools`, or add a file tools/git.md that enables it: base/tools/git.md says "
        "`enabled = false`."
    )
    write_files(tmp_path, {"mine/tools/git.md": "{{ super() }}"})
    assert lint(tmp_path, "mine") == []


def test_a_pack_whose_prefix_would_change_is_not_loaded_either(tmp_path: Path) -> None:
    write_files(tmp_path, {"mine/system.md": "at {{ cwd }}"})
    with pytest.raises(PackError) as caught:
        load_pack("mine", model_name="m", directories=[tmp_path])
    assert str(caught.value).startswith(f"{tmp_path}/mine/system.md:1: `cwd` changes")


def test_several_problems_are_all_found(tmp_path: Path) -> None:
    write_files(tmp_path, {"mine/system.md": "{{ a }}\n{{ b }}", "mine/cut.md": "{{ c }}"})
    assert len(lint(tmp_path, "mine")) == 3
