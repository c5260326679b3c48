"""The guide to prompt packs: every file in it is laid out and every command in it is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from laguna_agent.actions import WritePath
from laguna_agent.agent.hooks import Hooks
from laguna_agent.agent.skills import find_skills
from laguna_agent.config import load_config
from laguna_agent.events import ToolCall
from laguna_agent.interfaces.commands.prompts import main
from laguna_agent.prompts.loader.pack import Pack, PackTool, load_pack
from laguna_agent.prompts.loader.templates import DYNAMIC
from laguna_agent.tools.registry import builtin_tools, validate_arguments
from laguna_agent.tools.tool import ToolResult
from support.packs import write_files
from support.shells import make_context

GUIDE = Path(__file__).parents[2] / "docs" / "prompt-packs.md"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    kind: str
    file: str | None
    text: str


def blocks() -> list[Block]:
    found = [Block(m[1], m[2], m[3]) for m in BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))]
    assert all(block.kind == "console" or block.file for block in found)
    return found


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command with the output that is shown under it."""
    for part in text.split("$ ")[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def matches(shown: str, real: str) -> bool:
    """`…` alone on a line is any lines, within one any text."""
    parts = ["(?:.*\n)*?" if line == "…\n" else _line(line) for line in shown.splitlines(True)]
    return re.fullmatch("".join(parts), real) is not None


def _line(line: str) -> str:
    return " *".join(".*".join(map(re.escape, p.split("…"))) for p in re.split(" {2,}", line))


@pytest.fixture
def home(laguna_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return laguna_home / "config"


def lay_out(home: Path) -> None:
    for block in blocks():
        if block.file:
            write_files(home / "prompts", {block.file: block.text})


def test_every_example_does_what_the_guide_says(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = 0
    for block in blocks():
        if block.file:
            write_files(home / "prompts", {block.file: block.text})
            continue
        for command, shown in commands(block.text):
            program, group, *arguments = shlex.split(command)
            assert (program, group) == ("laguna", "prompts")
            code = main(arguments)
            out, err = capsys.readouterr()
            assert err == ""
            real = out.replace(" (estimated)", "").replace(f"{home}/prompts", "…")
            assert matches(shown, real), f"{command}\n--- shown\n{shown}\n--- real\n{real}"
            wrong = any(line.startswith("  ") for line in shown.split("\n")[1:2])
            assert code == (1 if arguments[0] == "lint" and wrong else 0)
            ran += 1
    assert ran >= 8


def test_the_packs_of_the_guide_say_what_they_say(home: Path) -> None:
    lay_out(home)
    pack = load(home, "mine")
    tools = builtin_tools()
    assert pack.tool_names(tools) == [
        "read", "edit", "write", "search", "shell", "run_tests", "say", "done"
    ]  # fmt: skip
    assert pack.text("first.md", date="2030-01-02") == "Today is 2030-01-02.\nDate: 2030-01-02\n"
    assert pack.reminders().at("after_edit") == [("tests", "Run the tests that cover this.")]
    search = next(tool for tool in pack.tools(tools) if tool.name == "search")
    assert search.max_output == 6000
    assert search.parameters["properties"]["glob"]["description"] == "such as *.py"
    assert load_pack(None, model_name="laguna-s-2.1", directories=[home / "prompts"]).name == "mine"


async def test_the_tools_of_the_guide_run(home: Path, tmp_path: Path) -> None:
    lay_out(home)
    context = make_context(tmp_path, True)
    (context.workspace / "test_calc.py").write_text(
        "import unittest\n\nclass T(unittest.TestCase):\n"
        "    def test_sum(self):\n        self.assertEqual(1 + 1, 3)\n"
    )
    tools = {tool.name: tool for tool in load(home, "mine").tools(builtin_tools())}

    async def call(tool: PackTool, **arguments: str) -> ToolResult:
        return await tool.tool.run(validate_arguments(tool.tool, arguments), context)

    result = await call(tools["run_tests"], module="test_calc")
    assert not result.ok
    assert "AssertionError: 2 != 3" in result.content
    assert "Ran 1 test" not in result.content
    said = await call(tools["say"], words="it's; $(x)")
    assert said.content == "it's; $(x) (exit status 0)"
    for resource in context.resources:
        await resource.aclose()


async def test_the_hooks_and_the_skill_of_the_guide_work(home: Path, tmp_path: Path) -> None:
    lay_out(home)
    hooks = Hooks(load_config(environment={}).hooks, cwd=tmp_path)

    async def denied(path: str) -> str | None:
        call = ToolCall(id="1", name="write", arguments={"path": path, "content": ""})
        action = WritePath(path=str(tmp_path / path))
        outcome = await hooks.before_tool(call, [action])
        assert outcome.notices == []
        return outcome.deny

    (tmp_path / "sub").mkdir()
    (tmp_path / "vendor").mkdir()
    (tmp_path / "link").symlink_to("vendor")
    for path in ("vendor/x.c", "./vendor/x.c", "sub/../vendor/x.c", "link/x.c"):
        assert await denied(path) == "vendor/ is not ours to change"
    assert await denied(str(tmp_path / "vendor/x.c")) == "vendor/ is not ours to change"
    assert await denied("src/x.c") is None
    ended = await hooks.turn_end(status="done")
    assert ended.continue_with == "make lint fails. Fix that."
    (tmp_path / "Makefile").write_text("lint:\n\t@true\n")
    assert (await hooks.turn_end(status="done")).continue_with is None
    skills, notices = find_skills([home / "skills"])
    assert ([skill.name for skill in skills], notices) == (["release"], [])


def test_the_table_of_messages_names_every_file_and_variable() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    table = text.partition("## Appended messages")[2].partition("\n## ")[0]
    for name, variables in DYNAMIC.items():
        row = next(line for line in table.split("\n") if f"`{name}`" in line)
        for variable in variables if name != "epoch.md" else ("summary", "messages", "plan"):
            assert f"`{variable}`" in row, (name, variable)


def load(home: Path, name: str) -> Pack:
    return load_pack(name, model_name="laguna-xs-2.1", directories=[home / "prompts"])
