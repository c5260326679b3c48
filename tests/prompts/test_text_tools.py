"""Tools written in text, on the real shell: what reaches the command, and what comes back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from laguna_agent.actions import RunCommand
from laguna_agent.prompts.loader.command import check_command, fill
from laguna_agent.prompts.loader.pack import PackTool, load_pack
from laguna_agent.prompts.loader.problems import PackError
from laguna_agent.prompts.loader.text_tool import filtered
from laguna_agent.prompts.loader.tool_file import ArgumentSpec, OutputSpec
from laguna_agent.tools.registry import builtin_tools, validate_arguments
from laguna_agent.tools.tool import ToolContext, ToolResult
from support.shells import make_context

ARGV = """#!/usr/bin/env python3
import json, sys
print(json.dumps(sys.argv[1:]))
"""


def make_tool(root: Path, front: str, body: str = "Does it.", name: str = "mine") -> PackTool:
    path = root / "base" / "tools" / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"+++\n{front}\n+++\n{body}\n", encoding="utf-8")
    pack = load_pack("base", model_name="m", directories=[root])
    return {tool.name: tool for tool in pack.tools(builtin_tools())}[name]


class Bench:
    """A workspace with a program that prints its arguments, and tools that run there."""

    def __init__(self, root: Path, *, confined: bool = False) -> None:
        self.packs = root / "packs"
        self.context: ToolContext = make_context(root, confined)
        self.workspace = self.context.workspace
        self.canary = self.workspace / "canary"
        program = self.workspace / "argv"
        program.write_text(ARGV)
        program.chmod(0o755)

    async def __call__(self, tool: PackTool, **arguments: Any) -> ToolResult:
        return await tool.tool.run(validate_arguments(tool.tool, arguments), self.context)

    async def close(self) -> None:
        for resource in self.context.resources:
            await resource.aclose()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, confined=True)
    yield bench
    await bench.close()


# --- injection --------------------------------------------------------------------------------

PAYLOADS = [
    "; touch canary", "&& touch canary", "| touch canary", "& touch canary &", "\ntouch canary\n",
    "$(touch canary)", "`touch canary`", "'; touch canary; '", '"; touch canary; "', "'\"'\"'",
    "<(touch canary)", "> canary", ">canary", "${x:=$(touch canary)}", "a[$(touch canary)]",
    "$((a[$(touch canary)]))", "\\'; touch canary #", "'$(touch canary)'", "{touch,canary}",
    "~", "*", "!!", "!touch", "%s", "\\", "\\\n", "'", '"', "''", "#", "$'\\x3btouch canary'",
    "EOF\ntouch canary\n", ")", "}", "; }; touch canary", "$IFS", "-", "--", "-x",
    "--output=canary", "=", "a=b", "\u2028touch canary", "é€漢🎉", "canary\\", "\t", " ", "", "$(",
    "${", "`", "((", "[[",
]  # fmt: skip

values = st.one_of(
    st.sampled_from(PAYLOADS),
    st.lists(st.sampled_from([*PAYLOADS, "a", " ", "\n", "touch canary"]), max_size=6).map("".join),
    st.text(max_size=40),
)


LOGGED = """#!/bin/sh
printf '%s\\0' "$@" end >> log
"""
THREE = 'command = "./logged {a} --opt={b} x{b}y -- {c} | cat && ./logged {a}"\n' + "".join(
    f'[arguments.{name}]\ntype = "string"\n' for name in "abc"
)
Call = Callable[..., tuple[ToolResult, list[str]]]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """Calls one tool in one shell; gives the result and what reached the programs it ran."""
    bench = Bench(tmp_path_factory.mktemp("injection"))
    tool = make_tool(bench.packs, THREE)
    (bench.workspace / "logged").write_text(LOGGED)
    (bench.workspace / "logged").chmod(0o755)
    log = bench.workspace / "log"

    with asyncio.Runner() as runner:

        def run(**values: str) -> tuple[ToolResult, list[str]]:
            log.write_bytes(b"")
            result = runner.run(bench(tool, **values))
            assert sorted(os.listdir(bench.workspace)) == ["argv", "log", "logged"]
            return result, log.read_bytes().decode().split("\0")[:-1]

        yield run
        runner.run(bench.close())


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(a=values, b=values, c=values)
@example(a="$(touch canary)", b="'; touch canary; '", c="-rf")
@example(a="\x03touch canary\n", b="\x00", c="\x1b[A\n")
def test_no_argument_value_ever_becomes_shell_syntax(call: Call, a: str, b: str, c: str) -> None:
    result, reached = call(a=a, b=b, c=c)
    if result.summary == "bad argument":
        event("refused")
        controls = any(ord(ch) < 32 and ch not in "\t\n" for ch in a + b + c)
        assert controls or "\x7f" in a + b + c or a.startswith("-")
        assert reached == []
    else:
        event("run")
        assert reached == [a, f"--opt={b}", f"x{b}y", "--", c, "end", a, "end"]


FRAGMENTS = r"""
echo ./argv a 'q' "d" $HOME $(echo ) ` | && ; || & { } {v} {v} {v} x{v} {v}y --o={v} "{v}" '{v}'
"a{v}b" $'{v}' ${{v}} $({v}) `{v}` <<EOF <<<{v} EOF # eval bash -c sh -lc \ > < >&2 (( )) [[ ]] [ ]
test for x in do done if then fi case esac A={v} export cat env xargs -- - -e {v}{v} !{v} ~{v} *{v}
?{v} \{v} python3 awk sed find time timeout 5 function f() command printf read let declare {v}()
={v} [{v}] {{v},b} ;{v} |{v} ({v}) $[{v}]
"""
fragments = st.sampled_from(
    [*FRAGMENTS.split(), "\n", "\n", "\nEOF\n", "\\\n", "'{v} {v}'", '"$(echo {v})"', "$(("]
)
SHARP = [payload for payload in PAYLOADS if "touch canary" in payload]


HARMLESS = "./argv echo a 'q' \"d\" | && ; || 2>&1 {v} x{v} --o={v}"
harmless = st.sampled_from([*HARMLESS.split(), "\n"])
commands = st.one_of(
    # anything, and lines that begin harmlessly, of which more are accepted
    st.lists(fragments, min_size=1, max_size=7),
    st.tuples(
        st.just("./argv {v}"), st.lists(st.one_of(harmless, harmless, fragments), max_size=6)
    ).map(lambda pair: [pair[0], *pair[1]]),
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(commands, st.sampled_from([" ", " ", " ", ""]))
@example(["echo", "{v}"], " ")
@example(["./argv", "{v}", "|", "cat", "-", "{v}"], " ")
def test_every_command_that_is_accepted_keeps_values_out_of_the_syntax(
    parts: list[str], glue: str
) -> None:
    command = glue.join(parts)
    if check_command(command, {"v": ArgumentSpec(type="string")}):
        event("refused")
        return
    event("accepted")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "argv").write_text("#!/bin/sh\n")
        Path(folder, "argv").chmod(0o755)
        subprocess.run(
            ["bash", "-c", "\n".join(fill(command, {"v": payload}) for payload in SHARP)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=30,
            env={"PATH": os.environ["PATH"], "HOME": folder},
        )
        assert not Path(folder, "canary").exists(), command


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ('./argv "{v}"', "inside quotes"),
        ("./argv '{v}'", "inside quotes"),
        ("./argv $'{v}'", "inside quotes"),
        ("./argv `cat {v}`", "inside quotes"),
        ("./argv $(cat {v})", "inside quotes"),
        ("./argv \\{v}", "inside quotes"),
        ("./argv $X{v}", "inside quotes"),
        ("./argv {v}*", "inside quotes"),
        ("cat <<EOF\n{v}\nEOF", "inside quotes"),
        ("cat <<< {v}", "inside quotes"),
        ("./argv # {v}", "inside quotes"),
        ("A={v} ./argv", "inside quotes"),
        ("(( {v} ))", "inside quotes"),
        ("[[ {v} -eq 1 ]]", "inside quotes"),
        ("for x in {v}; do ./argv; done", "inside quotes"),
        ("{v} --help", "is the program"),
        ("./argv | {v}", "is the program"),
        ("./argv > {v}", "redirection"),
        ("eval ./argv {v}", "`eval` would take"),
        ("bash -c {v}", "`bash` would take"),
        ("bash -lc 'x' {v}", "`bash` would take"),
        ("docker run image sh -c {v}", "`sh` would take"),
        ("python3 {v}", "`python3` would take"),
        ("python3 -c 'x' {v}", "`python3` would take"),
        ("awk {v} file", "`awk` would take"),
        ("sed -n {v} file", "`sed` would take"),
        ("env {v}", "`env` would take"),
        ("ls | xargs {v}", "`xargs` would take"),
        ("ssh host {v}", "`ssh` would take"),
        ("make {v}", "`make` would take"),
        ("test -v {v}", "`test` would take"),
        ("./argv 'open {v}", "not a shell command"),
        ("./argv {w}", "not an argument"),
        ("./argv", "not used"),
        ("", "is empty"),
    ],
)
def test_a_command_that_quoting_cannot_protect_is_refused(command: str, says: str) -> None:
    faults = check_command(command, {"v": ArgumentSpec(type="string")})
    assert any(says in fault.message for fault in faults), faults


@pytest.mark.parametrize(
    "command",
    [
        "pytest -q {v}",
        "pytest -q {v} 2>&1 | tail -n 20",
        "cd sub && npm test -- {v}",
        "(cd sub; cargo test {v})",
        "./argv --name={v} pre{v}post",
        "python3 -m pytest {v}",
        "python3 tools/x.py {v}",
        "sed -n 5p {v}",
        "awk '{ print $1 }' {v}",
        "echo ${HOME} {v}",
        "rg -t python -- {v}",
    ],
)
def test_ordinary_commands_are_accepted(command: str) -> None:
    assert check_command(command, {"v": ArgumentSpec(type="path")}) == []


def test_an_unsafe_command_is_refused_when_the_tool_is_made(tmp_path: Path) -> None:
    with pytest.raises(PackError) as caught:
        make_tool(tmp_path, 'command = "echo \'{v}\'"\n[arguments.v]\ntype = "string"')
    assert str(caught.value).startswith(f"{tmp_path}/base/tools/mine.md:2: ")


# --- types ------------------------------------------------------------------------------------

ALL = """command = "./argv {level} {count} {loud} {where} {word} {rest}"
[arguments.level]
type = "choice"
choices = ["low", "--high"]
default = "low"
[arguments.count]
type = "number"
minimum = 1
maximum = 9
default = 3
[arguments.loud]
type = "flag"
flag = "-v"
[arguments.where]
type = "path"
default = "."
[arguments.word]
type = "string"
doc = "a word"
[arguments.rest]
type = "string"
optional = true
"""


async def test_arguments_of_each_type_reach_the_command(bench: Bench) -> None:
    tool = make_tool(bench.packs, ALL)
    (bench.workspace / "-d").mkdir()
    (bench.workspace / "a b").mkdir()
    assert (await bench(tool, word="w")).content == '["low", "3", ".", "w"]'
    result = await bench(tool, word="w", level="--high", count=9, loud=True, where="-d", rest="r")
    assert result.content == '["--high", "9", "-v", "./-d", "w", "r"]'
    assert (await bench(tool, word="", where="a b")).content == '["low", "3", "a b", ""]'


async def test_the_declaration_is_what_the_types_say(bench: Bench) -> None:
    tool = make_tool(bench.packs, ALL)
    assert tool.kind == "execute"
    assert tool.description == "Does it."
    assert tool.parameters["required"] == ["word"]
    assert tool.parameters["properties"] == {
        "level": {"enum": ["low", "--high"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "loud": {"type": "boolean"},
        "where": {"type": "string"},
        "word": {"type": "string", "description": "a word"},
        "rest": {"type": "string"},
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"word": "-x"}, "begins with a dash"),
        ({"word": "w", "where": "nowhere"}, "does not exist"),
        ({"word": "w", "where": ".."}, "outside the workspace"),
        ({"word": "w", "where": "/etc"}, "outside the workspace"),
        ({"word": "w", "where": "link"}, "outside the workspace"),
        ({"word": "w", "where": "argw"}, "Did you mean argv?"),
        ({"word": "a\x03b"}, "control character"),
        ({"word": "a\x00b"}, "control character"),
    ],
)
async def test_values_that_must_not_reach_the_command_are_errors(
    bench: Bench, arguments: dict[str, Any], says: str
) -> None:
    (bench.workspace / "link").symlink_to("/etc")
    tool = make_tool(bench.packs, ALL)
    result = await bench(tool, **arguments)
    assert not result.ok
    assert says in result.content
    assert "shell" not in bench.context.state
    # Nor is anything asked about it.
    assert tool.tool.actions(validate_arguments(tool.tool, arguments), bench.context) == []


async def test_a_test_in_a_file_is_a_path(bench: Bench) -> None:
    (bench.workspace / "test_a.py").touch()
    tool = make_tool(bench.packs, 'command = "./argv {p}"\n[arguments.p]\ntype = "path"')
    assert (await bench(tool, p="test_a.py::test_b[1-x]")).content == '["test_a.py::test_b[1-x]"]'


async def test_a_string_may_begin_with_a_dash_where_that_is_harmless_or_wanted(
    bench: Bench,
) -> None:
    string = '[arguments.v]\ntype = "string"'
    after = make_tool(bench.packs, f'command = "./argv -- {{v}}"\n{string}', name="after")
    glued = make_tool(bench.packs, f'command = "./argv --o={{v}}"\n{string}', name="glued")
    asked = make_tool(bench.packs, f'command = "./argv {{v}}"\n{string}\ndash = true', name="asked")
    assert (await bench(after, v="-x")).content == '["--", "-x"]'
    assert (await bench(glued, v="-x")).content == '["--o=-x"]'
    assert (await bench(asked, v="-x")).content == '["-x"]'


async def test_paths_mean_the_workspace_wherever_the_shell_is(bench: Bench) -> None:
    (bench.workspace / "sub").mkdir()
    (bench.workspace / "x y").touch()
    front = 'command = "ls -- {p}"\n[arguments.p]\ntype = "path"'
    tool = make_tool(bench.packs, front)
    assert (await bench(tool, p="x y")).content == "x y"
    moved = builtin_tools("shell")["shell"]
    await moved.run(moved.arguments.model_validate({"command": "cd sub"}), bench.context)
    assert (await bench(tool, p="x y")).content == f"{bench.workspace}/x y"


async def test_the_policy_judges_exactly_the_command_that_runs(bench: Bench) -> None:
    tool = make_tool(bench.packs, ALL)
    arguments = validate_arguments(tool.tool, {"word": "a'; rm -rf /", "loud": True})
    [action] = tool.tool.actions(arguments, bench.context)
    assert action == RunCommand(
        command="./argv low 3 -v . 'a'\"'\"'; rm -rf /'", cwd=str(bench.workspace)
    )
    assert tool.tool.title(arguments, bench.context) == action.command


# --- results ----------------------------------------------------------------------------------

LINES = r"""'echo one; echo two warning; echo three; echo four warning; echo five; (exit 3)'"""


async def test_output_is_kept_dropped_and_cut_as_the_file_says(bench: Bench) -> None:
    kept = make_tool(bench.packs, f"command = {LINES}\n[output]\nkeep = 'warn'", name="kept")
    assert (await bench(kept)).content == "two warning\nfour warning\n[exit 3]"
    cut = make_tool(bench.packs, f"command = {LINES}\n[output]\nhead = 1\ntail = 1\ndrop = 'three'")
    result = await bench(cut)
    assert result.content == "one\n[… 2 lines left out …]\nfive\n[exit 3]"
    assert (result.ok, result.truncated, result.exit_code) == (False, True, 3)


async def test_a_result_template_makes_the_whole_result(bench: Bench) -> None:
    front = (
        'command = "echo {v}; false"\nok_exit_codes = [0, 1]\n'
        'result = "{{ arguments.v }}: {{ output }} ({{ exit_code }})"\n'
        '[arguments.v]\ntype = "string"'
    )
    result = await bench(make_tool(bench.packs, front), v="{{ 7 * 7 }}")
    assert result.content == "{{ 7 * 7 }}: {{ 7 * 7 }} (1)"
    assert result.ok


async def test_filters_see_output_that_was_too_long_for_the_result(bench: Bench) -> None:
    front = 'command = "seq 1 20000"\n[output]\nkeep = "^9999$"'
    result = await bench(make_tool(bench.packs, front))
    assert result.content == "9999"


async def test_filtered_output_is_still_bounded(bench: Bench) -> None:
    front = 'command = "seq 1 20000"\n[output]\ndrop = "^7"'
    result = await bench(make_tool(bench.packs, front))
    assert result.truncated
    assert len(result.content) < bench.context.max_output_chars + 200


async def test_a_command_that_takes_too_long_is_stopped_and_reported(bench: Bench) -> None:
    front = 'command = "echo begun; sleep 60"\ntimeout = 1\n[output]\ntail = 5'
    result = await bench(make_tool(bench.packs, front))
    assert not result.ok
    assert "stopped after 1 s" in result.content


async def test_tools_that_only_read_may_be_called_at_once(bench: Bench) -> None:
    front = 'kind = "read"\ncommand = "sleep 0.05; echo {v}"\n[arguments.v]\ntype = "string"'
    tool = make_tool(bench.packs, front)
    results = await asyncio.gather(*(bench(tool, v=str(n)) for n in range(5)))
    assert [result.content for result in results] == ["0", "1", "2", "3", "4"]


@given(
    st.lists(st.text(alphabet="ab", max_size=3), max_size=30), st.integers(0, 9), st.integers(0, 9)
)
def test_head_and_tail_never_lose_a_line_that_fits(lines: list[str], head: int, tail: int) -> None:
    text = "\n".join(lines)
    kept, cut = filtered(text, OutputSpec(head=head, tail=tail))
    if not cut:
        assert kept == text.rstrip("\n") or not text.strip()
    else:
        whole = text.rstrip("\n").split("\n")
        shown = kept.split("\n")
        assert shown[:head] == whole[:head]
        assert shown[head + 1 :] == (whole[-tail:] if tail else [])


async def test_the_result_names_the_command_that_ran(bench: Bench) -> None:
    (bench.workspace / "a.py").touch()
    tool = make_tool(bench.packs, 'command = "./argv {p}"\n[arguments.p]\ntype = "path"')
    assert (await bench(tool, p="a.py")).ran == "./argv a.py"
    assert (await bench(tool, p="/etc")).ran is None
