"""read: files, directories, and things that are neither."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from laguna_agent.actions import ReadPath
from laguna_agent.tools.output import save_output
from support.toolbox import Toolbox


async def test_small_file_is_shown_whole_with_line_numbers(box: Toolbox) -> None:
    box.add({"a.py": "x = 1\n\ny = 2\n"})
    result = await box.call("read", path="a.py")
    assert result.ok
    assert result.content == "1\tx = 1\n2\t\n3\ty = 2"


async def test_range_is_shown_with_how_to_continue(box: Toolbox) -> None:
    box.add({"a.txt": "".join(f"line {n}\n" for n in range(1, 101))})
    result = await box.call("read", path="a.txt", start=10, end=12)
    assert result.content == "10\tline 10\n11\tline 11\n12\tline 12"
    result = await box.call("read", path="a.txt", start=99)
    assert result.content == "99\tline 99\n100\tline 100"


async def test_large_file_shows_its_head_and_the_next_call_continues(box: Toolbox) -> None:
    lines = [f"value_{n} = {n}" for n in range(1, 3001)]
    box.add({"big.py": "\n".join(lines) + "\n"})
    shown: list[str] = []
    start = 1
    for _ in range(20):
        result = await box.call("read", path="big.py", start=start)
        assert len(result.content) < box.context.max_output_chars + 200
        numbered = [x for x in result.content.split("\n") if "\t" in x]
        shown += [x.split("\t", 1)[1] for x in numbered]
        if not result.truncated:
            break
        assert "continue with start=" in result.content
        start = int(result.content.rsplit("start=", 1)[1].rstrip("]"))
    assert shown == lines


async def test_large_source_file_gets_an_outline_of_the_rest(box: Toolbox) -> None:
    body = "".join(f"    value = {n}\n" for n in range(1500))
    box.add({"big.py": f"def first():\n{body}\n\nclass Second:\n    def go(self): ...\n"})
    result = await box.call("read", path="big.py")
    below = "[further down:]\n1504 class Second\n1505   def go(self)\n[lines 1-"
    assert below in result.content
    assert len(result.content) < box.context.max_output_chars
    result = await box.call("read", path="big.py", start=1504)
    assert result.content == "1504\tclass Second:\n1505\t    def go(self): ..."


async def test_line_past_the_end_is_refused_with_the_length(box: Toolbox) -> None:
    box.add({"a.txt": "one\n"})
    result = await box.call("read", path="a.txt", start=5)
    assert not result.ok
    assert result.content == "a.txt has 1 line; line 5 does not exist."


async def test_endless_line_is_cut(box: Toolbox) -> None:
    box.add({"min.js": "x" * 500_000})
    result = await box.call("read", path="min.js")
    assert len(result.content) < 3_000
    assert "+498,000 chars" in result.content


async def test_a_long_line_is_read_to_its_end_by_column(box: Toolbox) -> None:
    line = "".join(f"v{n}é;" for n in range(9_000))
    box.add({"app.min.js": f"x\n{line}\n"})
    result = await box.call("read", path="app.min.js")
    assert result.content.endswith("[line 2 is cut; continue with path=app.min.js:2:2001]")
    shown = line[:2000]
    while "continue with path=" in result.content:
        where = result.content.rpartition("continue with path=")[2].rstrip("]")
        result = await box.call("read", path=where)
        assert result.content.startswith("2\t")
        shown += result.content[2:].rpartition("\n[columns ")[0]
    assert shown == line
    assert [type(action) for action in box.actions("read", path="app.min.js:2:9")] == [ReadPath]
    result = await box.call("read", path="app.min.js:2:99999")
    assert not result.ok
    assert "line 2 has " in result.content


async def test_a_long_line_of_a_huge_file_is_read_by_column(box: Toolbox) -> None:
    box.add({"a.json": b"first\n" + b"x" * (17 << 20) + b"END\nlast\n"})
    result = await box.call("read", path=f"a.json:2:{(17 << 20) - 1}")
    assert result.content.startswith("2\txxEND\n[columns ")
    result = await box.call("read", path="a.json:1:3")
    assert result.content.startswith("1\trst\n[columns ")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a.txt:2", "2\ttwo\n3\tthree"),
        ("a.txt:2-2", "2\ttwo"),
        ("a.txt:2:3", "2\to\n[columns 3-3 of 3]"),
        ("b:1", "1\tnamed so"),
        ("a.txt#L2-L3", "2\ttwo\n3\tthree"),
        ("a.txt#L3", "3\tthree"),
        ("@a.txt:3", "Taken as a.txt.\n3\tthree"),
        ("sub\\b.txt", "Taken as sub/b.txt.\n1\tb"),
        ("file://{workspace}/sub/b.txt", "Taken as {workspace}/sub/b.txt.\n1\tb"),
        ("a.txt:0", "1\tone\n2\ttwo\n3\tthree"),
    ],
)
async def test_a_path_may_hold_a_position(box: Toolbox, path: str, shown: str) -> None:
    box.add({"a.txt": "one\ntwo\nthree\n", "b:1": "named so\n", "sub/b.txt": "b\n"})
    path, shown = (text.replace("{workspace}", str(box.workspace)) for text in (path, shown))
    assert (await box.call("read", path=path)).content == shown


async def test_a_position_in_a_saved_output(box: Toolbox) -> None:
    name, _ = save_output(box.context, "one\ntwo\n")
    assert (await box.call("read", path=f"{name}:2")).content == "2\ttwo"
    assert (await box.call("read", path=name)).content == "1\tone\n2\ttwo"


@pytest.mark.parametrize(
    ("data", "shown", "described"),
    [
        (b"a\r\nb\r\n", "1\ta\n2\tb", "(CRLF)"),
        (b"a\nb\r\n", "1\ta\n2\tb", "(mixed line endings)"),
        (b"\xef\xbb\xbfa\n", "1\ta", "(UTF-8 with BOM)"),
        ("grün\n".encode("latin-1"), "1\tgrün", "(Latin-1)"),
        ("grün\n".encode("utf-16"), "1\tgrün", "(UTF-16-LE)"),
        ("plain text\n".encode("utf-16-be"), "1\tplain text", "(UTF-16-BE)"),
    ],
)
async def test_encoding_is_detected_and_named(
    box: Toolbox, data: bytes, shown: str, described: str
) -> None:
    box.add({"f.txt": data})
    result = await box.call("read", path="f.txt")
    assert result.content == f"{described}\n{shown}"


async def test_unicode_line_separators_do_not_count_as_lines(box: Toolbox) -> None:
    box.add({"a.txt": "one\u2028still one\x0cand this\ntwo\n"})
    result = await box.call("read", path="a.txt", start=2)
    assert result.content == "2\ttwo"


async def test_missing_final_newline_is_reported(box: Toolbox) -> None:
    box.add({"a.txt": "one\ntwo"})
    result = await box.call("read", path="a.txt")
    assert result.content.endswith("2\ttwo\n[no newline at the end]")


async def test_directory_is_a_tree_without_what_git_ignores(box: Toolbox) -> None:
    box.add(
        {
            ".gitignore": "*.log\n/build/\n!keep.log\n",
            "src/a.py": "",
            "src/deep/b.py": "",
            "src/.gitignore": "secret*\n",
            "src/secret.txt": "",
            "noise.log": "",
            "keep.log": "",
            "build/out.o": "",
            "node_modules/x/index.js": "",
            ".git/config": "",
        }
    )
    result = await box.call("read", path=".")
    assert result.content.split("\n") == [
        "src/",
        "  deep/",
        "    b.py",
        "  .gitignore",
        "  a.py",
        ".gitignore",
        "keep.log",
    ]


async def test_tree_of_a_folder_honours_the_ignore_files_above_it(box: Toolbox) -> None:
    box.add({".gitignore": "*.o\n", "src/a.c": "", "src/a.o": ""})
    assert (await box.call("read", path="src")).content == "a.c"


async def test_file_name_cannot_forge_a_line_or_a_colour(box: Toolbox) -> None:
    box.add({"a\nb/\x1b[31mred\u202etxt": "needle\n"})
    shown = "a\\x0ab/\\x1b[31mred\\u202etxt"
    tree = await box.call("read", path=".")
    assert tree.content == "a\\x0ab/\n  \\x1b[31mred\\u202etxt"
    found = await box.call("search", pattern="needle")
    assert found.content == f"1 match in 1 file\n{shown}:\n1: needle"


async def test_large_tree_is_bounded_and_counts_what_it_leaves_out(box: Toolbox) -> None:
    box.add({f"data/{n:04}.txt": "" for n in range(600)} | {"src/a.py": "", "README": ""})
    result = await box.call("read", path=".")
    assert result.content.count("\n") < 250
    assert "src/\n  a.py" in result.content
    assert "README" in result.content
    assert " more" in result.content


@pytest.mark.parametrize("head", [b"\x89PNG\r\n\x1a\n\0\0", b"\0\1\2\3" * 100])
async def test_binary_file_is_described_in_a_line(box: Toolbox, head: bytes) -> None:
    box.add({"f.bin": head})
    result = await box.call("read", path="f.bin")
    assert "\n" not in result.content
    assert f"{len(head)} bytes" in result.content


async def test_fifo_and_socket_are_not_opened(box: Toolbox) -> None:
    os.mkfifo(box.workspace / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(box.workspace, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{here}/sock")
        finally:
            os.close(here)
        for name, kind in (("pipe", "a named pipe"), ("sock", "a socket")):
            async with asyncio.timeout(10):
                result = await box.call("read", path=name)
            assert not result.ok
            assert kind in result.content
            assert "\n" not in result.content


async def test_device_behind_a_link_is_outside(box: Toolbox) -> None:
    (box.workspace / "zero").symlink_to("/dev/zero")
    result = await box.call("read", path="zero")
    assert not result.ok
    assert "outside the workspace" in result.content


async def test_huge_sparse_binary_is_described_without_reading_it(box: Toolbox) -> None:
    with (box.workspace / "huge.bin").open("wb") as stream:
        stream.truncate(5 << 30)
    result = await box.call("read", path="huge.bin")
    assert "binary file of 5,368,709,120 bytes" in result.content


async def test_huge_text_is_read_in_pieces(box: Toolbox) -> None:
    line = b"x" * 99 + b"\n"
    box.add({"huge.log": line * 200_000})
    result = await box.call("read", path="huge.log", start=190_000, end=190_001)
    assert result.content.startswith("190000\txxx")
    assert "[lines 190000-190001 of a file of 20,000,000 bytes" in result.content


async def test_path_with_the_ending_of_one_file_means_that_file(box: Toolbox) -> None:
    box.add({"src/calc.py": "x = 1\n", "src/other.py": ""})
    for path in ("calc.py", "path/to/calc.py", "./calc.py"):
        result = await box.call("read", path=path)
        assert result.content.startswith(f"{path} does not exist; taken as src/calc.py.")
        assert "1\tx = 1" in result.content
    [action] = box.actions("read", path="calc.py")
    assert action == ReadPath(path=str(box.workspace / "src/calc.py"))


async def test_path_with_the_ending_of_several_files_lists_them(box: Toolbox) -> None:
    box.add({"a/calc.py": "", "b/calc.py": ""})
    result = await box.call("read", path="calc.py")
    assert not result.ok
    assert result.content == "calc.py does not exist. Did you mean a/calc.py or b/calc.py?"


async def test_saved_output_can_be_read_by_name(box: Toolbox) -> None:
    from laguna_agent.tools.output import bound

    bounded = bound(box.context, "".join(f"{n}\n" for n in range(10_000)), limit=300)
    assert bounded.file is not None
    assert bounded.file.stat().st_mode & 0o777 == 0o600
    assert "read output:1" in bounded.text
    result = await box.call("read", path="output:1", start=5_000, end=5_001)
    assert result.content.startswith("5000\t4999\n5001\t5000")
    assert box.actions("read", path="output:1") == []
    refused = await box.call("write", path="output:1", content="x")
    assert not refused.ok
