"""search: the same answers with ripgrep and without, bounded, best first, never stuck."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from laguna_agent.policy.sandbox import make_sandbox
from laguna_agent.tools import search as search_tool
from laguna_agent.tools.files import text_search
from laguna_agent.tools.files.file_names import match_names
from laguna_agent.tools.output import save_output
from laguna_agent.tools.search import expand_globs
from support.shells import processes_with, unique, until
from support.toolbox import Toolbox

FILES = {
    ".gitignore": "ignored/\n*.gen.py\n",
    "src/core/app.py": "def start():\n    return helper_start() + 1\n\n\nrestart = start\n",
    "src/use.py": "from core.app import start\n\nvalue = start()\n",
    "tests/test_app.py": "def test_start():\n    assert start() == 1\n",
    "ignored/app.py": "start = 1\n",
    "a.gen.py": "start = 2\n",
    "web/app.js": "function start() {}\n",
    ".env": "TOKEN=start\n",
    ".git/config": "start\n",
}


@pytest.fixture(params=["ripgrep", "own"])
def box(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolbox:
    if request.param == "own":
        monkeypatch.setattr(text_search, "find_program", lambda name: None)
    else:
        assert text_search.find_program("rg"), "the tests need ripgrep"
    return Toolbox.at(tmp_path)


def files_in(content: str) -> list[str]:
    return [line[:-1] for line in content.split("\n") if line.endswith(":") and " " not in line]


async def test_results_are_grouped_with_definitions_first(box: Toolbox) -> None:
    box.add(FILES)
    result = await box.call("search", pattern="start")
    assert result.content.split("\n")[0] == "9 matches in 5 files"
    assert files_in(result.content) == [
        "web/app.js",
        "src/core/app.py",
        ".env",
        "src/use.py",
        "tests/test_app.py",
    ] or files_in(result.content)[:2] == ["web/app.js", "src/core/app.py"]
    assert "src/core/app.py:\n1: def start():\n2:     return helper_start() + 1" in result.content
    assert ".git/config" not in result.content
    assert "ignored" not in result.content
    assert "gen.py" not in result.content


async def test_glob_narrows_down_and_does_not_bring_ignored_files_back(box: Toolbox) -> None:
    box.add(FILES)
    result = await box.call("search", pattern="start", glob="*.gen.py")
    assert "No match" in result.content
    result = await box.call("search", pattern="start", glob="*.{js,ts}")
    assert files_in(result.content) == ["web/app.js"]
    result = await box.call("search", pattern="start", glob="src/**/*.py")
    assert set(files_in(result.content)) == {"src/core/app.py", "src/use.py"}


async def test_counts(box: Toolbox) -> None:
    box.add(FILES)
    result = await box.call("search", pattern="start", glob="*.py", mode="count")
    assert "src/core/app.py: 3" in result.content
    assert "tests/test_app.py: 2" in result.content


async def test_context_lines(box: Toolbox) -> None:
    box.add(FILES)
    result = await box.call("search", pattern="helper_start", context=1)
    assert "1- def start():\n2:     return helper_start() + 1\n3- " in result.content


async def test_search_in_a_folder_honours_the_ignore_files_above(box: Toolbox) -> None:
    box.add({".gitignore": "*.log\n", "d/a.txt": "needle\n", "d/b.log": "needle\n"})
    result = await box.call("search", pattern="needle", path="d")
    assert files_in(result.content) == ["d/a.txt"]


async def test_search_in_one_file(box: Toolbox) -> None:
    box.add({"a.txt": "one\nneedle\r\n", "b.txt": "needle\n"})
    result = await box.call("search", pattern="needle$", path="a.txt")
    assert result.content == "1 match in 1 file\na.txt:\n2: needle"


async def test_invalid_expression_is_searched_as_text(box: Toolbox) -> None:
    box.add({"a.py": "call(x)\n"})
    result = await box.call("search", pattern="call(x")
    assert result.ok
    first, *rest = result.content.split("\n")
    assert "not a regular expression" in first
    assert rest == ["1 match in 1 file", "a.py:", "1: call(x)"]


async def test_expression_without_a_match_is_tried_as_text(box: Toolbox) -> None:
    box.add({"a.py": "x = items[0]\n"})
    result = await box.call("search", pattern="items[0]")
    assert "found as plain text" in result.content
    assert "1: x = items[0]" in result.content


async def test_match_in_another_case_is_found_and_reported(box: Toolbox) -> None:
    box.add({"a.py": "class HttpServer: ...\n"})
    result = await box.call("search", pattern="httpserver")
    assert "ignoring case" in result.content
    assert "1: class HttpServer: ..." in result.content


async def test_lookbehind_and_back_references_work(box: Toolbox) -> None:
    box.add({"a.txt": "abab\nprice: 5\n"})
    assert "1: abab" in (await box.call("search", pattern=r"(ab)\1")).content
    assert "2: price: 5" in (await box.call("search", pattern=r"(?<=price: )\d")).content


@pytest.mark.parametrize("text", list(r"\.+*?()|[]{}^$-#&~/ "))
async def test_special_characters_are_literal(box: Toolbox, text: str) -> None:
    box.add({"a.txt": f"x\na{text}b\n"})
    result = await box.call("search", pattern=f"a{text}b", mode="literal")
    assert result.content == f"1 match in 1 file\na.txt:\n2: a{text}b"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"nothing\|Foo", "1: func Foo() {"),
        (r"\<Foo\>", "1: func Foo() {"),
        (r"\(Foo\)()", "1: func Foo() {"),
        ('"func Foo"', "1: func Foo() {"),
        ("/func foo/i", "1: func Foo() {"),
        (r"\p{Lu}oo\(", "1: func Foo() {"),
        ("[[:upper:]]oo", "1: func Foo() {"),
        ("(?<name>Foo)", "1: func Foo() {"),
    ],
)
async def test_expressions_of_other_programs_are_understood(
    tmp_path: Path, pattern: str, found: str
) -> None:
    box = Toolbox.at(tmp_path)
    box.add({"a.go": "func Foo() {\n", "b.go": "other\n"})
    result = await box.call("search", pattern=pattern)
    assert result.content.endswith(f"1 match in 1 file\na.go:\n{found}")


async def test_a_glob_as_the_pattern_is_told_from_an_expression(box: Toolbox) -> None:
    box.add({"a.go": "x\n"})
    result = await box.call("search", pattern="*.go")
    assert result.content.endswith("files are found by name with mode=files.")


async def test_literal_mode(box: Toolbox) -> None:
    box.add({"a.txt": "a.c\nabc\n"})
    result = await box.call("search", pattern="a.c", mode="literal")
    assert result.content == "1 match in 1 file\na.txt:\n1: a.c"


async def test_file_names_may_hold_newlines_and_colons(box: Toolbox) -> None:
    box.add({"a\nb:1:2.txt": "needle\n", "c.txt": "needle\n"})
    result = await box.call("search", pattern="needle", mode="count")
    assert "a\\x0ab:1:2.txt: 1" in result.content


async def test_pattern_that_looks_like_a_flag_is_a_pattern(box: Toolbox) -> None:
    box.add({"a.txt": "--pre=./x.sh\n", "x.sh": "#!/bin/sh\ntouch canary\n"})
    (box.workspace / "x.sh").chmod(0o755)
    result = await box.call("search", pattern="--pre=./x.sh")
    assert files_in(result.content) == ["a.txt"]
    assert not (box.workspace / "canary").exists()


async def test_configuration_of_ripgrep_is_not_read(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.add({"a.txt": "needle\n", "rc": "--pre=./x.sh\n", "x.sh": "#!/bin/sh\ntouch canary\n"})
    (box.workspace / "x.sh").chmod(0o755)
    monkeypatch.setenv("RIPGREP_CONFIG_PATH", str(box.workspace / "rc"))
    assert (await box.call("search", pattern="needle")).ok
    assert not (box.workspace / "canary").exists()


async def test_nothing_of_the_workspace_is_run_or_imported(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "#!/bin/sh\ntouch canary\n"
    module = "open('canary', 'w').close()\n"
    box.add({"bin/rg": script, "json.py": module, "re.py": module, "a.txt": "needle\n"})
    (box.workspace / "bin/rg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{box.workspace / 'bin'}:bin:.:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(box.workspace))
    monkeypatch.chdir(box.workspace)
    result = await box.call("search", pattern="needle", glob="*.txt")
    assert files_in(result.content) == ["a.txt"]
    assert not (box.workspace / "canary").exists()


async def test_special_and_huge_files_do_not_block_the_search(box: Toolbox) -> None:
    os.mkfifo(box.workspace / "pipe")
    with (box.workspace / "huge.bin").open("wb") as stream:
        stream.truncate(5 << 30)
    (box.workspace / "zero").symlink_to("/dev/zero")
    box.add({"a.txt": "needle\n", "bin": b"\0needle\n"})
    async with asyncio.timeout(30):
        result = await box.call("search", pattern="needle")
        assert files_in(result.content) == ["a.txt"]
        for name in ("pipe", "huge.bin", "bin", "zero"):
            result = await box.call("search", pattern="needle", path=name)
            assert not result.ok
            assert "\n" not in result.content


async def test_links_are_not_followed(box: Toolbox, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/secret.txt").write_text("needle\n")
    (box.workspace / "out").symlink_to(tmp_path / "out")
    (box.workspace / "file").symlink_to(tmp_path / "out/secret.txt")
    assert "No match" in (await box.call("search", pattern="needle")).content


async def test_search_in_the_sandbox_finds_the_same(box: Toolbox, tmp_path: Path) -> None:
    box.add(FILES)
    outside = await box.call("search", pattern="start")
    choice = make_sandbox(
        workspace=box.workspace,
        enabled=True,
        network=False,
        writable=(),
        state_dir=box.context.state_dir,
    )
    assert choice.sandbox.name != "none", choice.reason
    box.context.sandbox = choice.sandbox
    inside = await box.call("search", pattern="start")
    assert inside.content == outside.content
    name, _ = save_output(box.context, "one\nstart here\n")
    saved = await box.call("search", pattern="start", path=name)
    assert saved.content == f"1 match in 1 file\n{name}:\n2: start here"


async def test_many_matches_are_bounded(box: Toolbox) -> None:
    box.add({f"d{n}/f.txt": f"needle {n} {'x' * 150}\n" * 40 for n in range(60)})
    result = await box.call("search", pattern="needle")
    assert "2400 matches in 60 files" in result.content
    assert len(result.content) < box.context.max_output_chars
    assert "Also in: " in result.content
    assert result.truncated


async def test_runaway_expression_is_stopped(box: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    box.add({"a.txt": "a" * 40 + "!\n"})
    monkeypatch.setattr(text_search, "TIME_LIMIT", 1.0)
    async with asyncio.timeout(60):
        # Looking ahead sends it to Python, whose matching takes exponential time on this.
        result = await box.call("search", pattern=r"(?=a)(a+)+$")
    assert "stopped after 1 s" in result.content


@pytest.mark.slow
async def test_more_matches_than_are_read_do_not_block_the_search(box: Toolbox) -> None:
    box.add({f"d{n}/f.txt": f"needle {'x' * 300}\n" * 2_000 for n in range(10)})
    async with asyncio.timeout(60):
        for _ in range(3):  # the output that is left unread differs from run to run
            result = await box.call("search", pattern="needle", mode="count")
            assert "+ matches" in result.content
            assert "[there are more matches]" in result.content


@pytest.mark.parametrize(
    "script",
    [
        "yes",
        "sleep 30",
        "sleep 3 & exec >&- 2>&-; sleep 30",  # another process holds the output
        "trap '' TERM; yes >&2",
        "exec >&- 2>&-; sleep 30",  # ends its output, but not itself
    ],
)
async def test_the_time_limit_covers_a_search_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    box = Toolbox.at(tmp_path)
    box.add({"a.txt": "needle\n"})
    program = tmp_path / "rg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(text_search, "find_program", lambda name: str(program))
    monkeypatch.setattr(text_search, "TIME_LIMIT", 0.3)
    monkeypatch.setattr(text_search, "_END_LIMIT", 0.1)
    async with asyncio.timeout(20):
        await box.call("search", pattern="needle")


async def test_a_cancelled_search_ends_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Toolbox.at(tmp_path)
    number = unique()
    program = tmp_path / "rg"
    program.write_text(f"#!/bin/sh\nsleep {number}\n")
    program.chmod(0o755)
    monkeypatch.setattr(text_search, "find_program", lambda name: str(program))
    task = asyncio.create_task(box.call("search", pattern="needle"))
    assert await until(lambda: processes_with(number))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await until(lambda: not processes_with(number))


@pytest.mark.parametrize(
    ("glob", "path", "found"),
    [
        ("**/*.py", ".", {"src/core/app.py", "src/use.py", "tests/test_app.py"}),
        ("./src/*.py", ".", {"src/use.py"}),
        ("src/**/app.py", ".", {"src/core/app.py"}),
        ("/web/*.js", ".", {"web/app.js"}),
        ("{workspace}/src/*.py", ".", {"src/use.py"}),
        ("src/", ".", {"src/core/app.py", "src/use.py"}),
        ("core/*.py", "src", {"src/core/app.py"}),
        ("src/core/*.py", "src", {"src/core/app.py"}),
        ("*.py,!test_*", ".", {"src/core/app.py", "src/use.py"}),
        ("!**/*.py", ".", {"web/app.js", ".env"}),
        ("!", ".", {"web/app.js", ".env", "src/core/app.py", "src/use.py", "tests/test_app.py"}),
        ("ignored/**", ".", set()),
    ],
)
async def test_globs_with_slashes(box: Toolbox, glob: str, path: str, found: set[str]) -> None:
    box.add(FILES)
    glob = glob.replace("{workspace}", str(box.workspace))
    result = await box.call("search", pattern="start", glob=glob, path=path)
    assert set(files_in(result.content)) == found


async def test_a_glob_is_applied_before_the_limit(box: Toolbox) -> None:
    box.add({f"logs/{n}.log": "needle\n" * 1_500 for n in range(8)})
    box.add({"src/deep/x.ts": "needle\n", "zz/y.ts": "needle\n"})
    result = await box.call("search", pattern="needle", glob="**/*.ts")
    assert result.content.startswith("2 matches in 2 files\n")


async def test_a_glob_holds_for_files_that_an_ignore_file_brings_back(box: Toolbox) -> None:
    box.add({".gitignore": "*.log\n!keep.log\n", "keep.log": "needle\n", "a.txt": "needle\n"})
    result = await box.call("search", pattern="needle", glob="*.txt")
    assert files_in(result.content) == ["a.txt"]
    result = await box.call("search", pattern="needle", glob="*.log")
    assert files_in(result.content) == ["keep.log"]


async def test_files_that_nfs_keeps_of_removed_ones_are_left_out(box: Toolbox) -> None:
    box.add({".nfs00000000000a1b2c00000001": "needle\n", "a.txt": "needle\n"})
    assert files_in((await box.call("search", pattern="needle")).content) == ["a.txt"]
    assert (await box.call("search", pattern="nfs", mode="files")).summary == "no match"


async def test_globs_in_the_sandbox(box: Toolbox) -> None:
    box.add(FILES)
    box.context.sandbox = make_sandbox(
        workspace=box.workspace,
        enabled=True,
        network=False,
        writable=(),
        state_dir=box.context.state_dir,
    ).sandbox
    result = await box.call("search", pattern="start", glob="src/**/*.py")
    assert set(files_in(result.content)) == {"src/core/app.py", "src/use.py"}


SPANNING = "def first(\n    a,\n    b,\n):\n    pass\n\ndef second():\n    pass\n"


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("pattern", "mode", "shown"),
    [
        (r"first\(\n\s+a", "regex", "1: def first(\n2:     a,"),
        ("first(\n    a", "literal", "1: def first(\n2:     a,"),
        ("    b,\n\\):", "regex", "3:     b,\n4: ):"),
        (r"(?s)first\(.*?\):", "regex", "1: def first(\n2:     a,\n3:     b,\n4: ):"),
        (r"pass\n+def", "regex", "5:     pass\n6: \n7: def second():"),
        (r"first[^\n]*", "regex", "1: def first("),
        (r"FIRST\(\n", "regex", "1: def first("),
        (r"(?<=first\()\n\s*a", "regex", "1: def first(\n2:     a,"),
    ],
)
async def test_a_pattern_may_span_lines(
    box: Toolbox, pattern: str, mode: str, shown: str, ends: str
) -> None:
    box.add({"src/a.py": SPANNING.replace("\n", ends).encode(), "b.py": "pass\n"})
    for path in (".", "src/a.py"):
        result = await box.call("search", pattern=pattern, mode=mode, path=path)
        assert result.content.endswith(f"1 match in 1 file\nsrc/a.py:\n{shown}")


async def test_context_around_a_match_that_spans_lines(box: Toolbox) -> None:
    box.add({"a.py": SPANNING})
    result = await box.call("search", pattern=r"a,\n\s+b", context=1)
    assert result.content.endswith("1- def first(\n2:     a,\n3:     b,\n4- ):")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
async def test_a_match_in_a_long_line_is_shown(box: Toolbox, encoding: str) -> None:
    long = "é" * 5_000 + "function needle(){return 1}" + "b" * 3_000 + "needle()" + "c" * 9_000
    box.add({"app.min.js": f"x\n{long}\n".encode(encoding), "b.js": "needle\n"})
    for context in (0, 2):
        for path in (".", "app.min.js"):
            result = await box.call("search", pattern="needle", path=path, context=context)
            assert "function needle(){return 1}bbb" in result.content
            assert "2 (column 5010): …" in result.content
            assert "2 (column 8028): …" in result.content
            assert len(result.content) < 2_000


async def test_finding_by_name_says_where_it_stopped(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.add({f"{folder}/{n}.txt": "" for folder in "abc" for n in range(5)})
    monkeypatch.setattr(search_tool, "_MAX_WALKED", 7)
    result = await box.call("search", pattern="c/3.txt", mode="files")
    stopped = "[only the first 7 files were looked at, to b/1.txt; give one of these as path: b, c]"
    assert stopped in result.content
    result = await box.call("search", pattern="3.txt", mode="files", path="c")
    assert result.content == "c/3.txt"
    monkeypatch.setattr(search_tool, "TIME_LIMIT", 0.0)
    result = await box.call("search", pattern="c/3.txt", mode="files")
    assert "[only the first 1 files were looked at, to a/0.txt; give one of " in result.content


async def test_latin_1_and_utf_16_are_searched(box: Toolbox) -> None:
    box.add({"l.txt": "grün needle\n".encode("latin-1"), "w.txt": "needle\n".encode("utf-16")})
    result = await box.call("search", pattern="needle")
    assert set(files_in(result.content)) == {"l.txt", "w.txt"}
    assert "1: grün needle" in result.content


async def test_unreadable_files_are_left_out(box: Toolbox) -> None:
    box.add({"a.txt": "needle\n", "secrets/key.txt": "needle\n"})
    box.context.may_read = box.context.may_name = lambda path: "/secrets" not in path
    for arguments in ({"pattern": "needle"}, {"pattern": "txt", "mode": "files"}):
        result = await box.call("search", **arguments)
        assert "a.txt" in result.content
        assert "secrets" not in result.content
    assert "secrets" not in (await box.call("read", path=".")).content


async def test_a_file_that_asks_is_searched_only_if_the_call_names_it(box: Toolbox) -> None:
    box.add({"a.txt": "needle\n", "conf/.env": "needle\n"})
    box.context.may_read = lambda path: not path.endswith(".env")
    for path in (".", "conf"):
        result = await box.call("search", pattern="needle", path=path)
        assert ".env" not in result.content
    assert "needle" in (await box.call("search", pattern="needle", path="conf/.env")).content
    assert ".env" in (await box.call("search", pattern="env", mode="files", path="conf")).content


async def test_files_are_found_by_name(box: Toolbox) -> None:
    box.add(FILES)
    result = await box.call("search", pattern="app", mode="files")
    assert result.content.split("\n") == ["web/app.js", "src/core/app.py", "tests/test_app.py"]
    result = await box.call("search", pattern="ap.py", mode="files")
    assert "nearest:\nsrc/core/app.py" in result.content


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("app.py", ["src/app.py", "src/my_app.py"]),
        ("*.js", ["web/app.js"]),
        ("src/*.py", ["src/app.py", "src/my_app.py"]),
        (r"app\.(js|ts)$", ["web/app.js"]),
        ("APP.JS", ["web/app.js"]),
        ("src", ["src/app.py", "src/my_app.py"]),
    ],
)
def test_names_match_by_part_glob_or_expression(pattern: str, found: list[str]) -> None:
    assert match_names(["src/app.py", "src/my_app.py", "web/app.js"], pattern) == found


def test_globs_are_split() -> None:
    assert expand_globs("*.{js,ts}, *.py a/{b,c}/*") == ["*.js", "*.ts", "*.py", "a/b/*", "a/c/*"]
    assert expand_globs("My Notes/*.md,*.txt") == ["My Notes/*.md", "*.txt"]
    assert expand_globs("") == []
