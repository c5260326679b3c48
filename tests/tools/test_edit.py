"""edit: other bytes are kept, tolerance never guesses, stale content is refused."""

from __future__ import annotations

import os

import pytest

from laguna_agent.actions import ReadPath, WritePath
from support.toolbox import Toolbox

# --- bytes outside the edit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a\r\nold\r\nb\r\n", b"a\r\nnew 1\r\nnew 2\r\nb\r\n"),
        (b"a\nold\nb\r\nc\n", b"a\nnew 1\nnew 2\nb\r\nc\n"),
        (b"a\r\nold\r\nb\nc\r\n", b"a\r\nnew 1\r\nnew 2\r\nb\nc\r\n"),
        (b"a\rold\rb\r", b"a\rnew 1\rnew 2\rb\r"),
        (b"\xef\xbb\xbfold\n", b"\xef\xbb\xbfnew 1\nnew 2\n"),
        (b"a \t\nold", b"a \t\nnew 1\nnew 2"),
        (b"gr\xfcn\nold\n", b"gr\xfcn\nnew 1\nnew 2\n"),
        (b"\x93quoted\x94\nold\n", b"\x93quoted\x94\nnew 1\nnew 2\n"),
        (
            "größe ok\n".encode() + b"\xff broken\nold\n",
            "größe ok\n".encode() + b"\xff broken\nnew 1\nnew 2\n",
        ),
        (
            b"\xff\xfe" + "ü\r\nold\r\n".encode("utf-16-le"),
            b"\xff\xfe" + "ü\r\nnew 1\r\nnew 2\r\n".encode("utf-16-le"),
        ),
        ("a\nold\n".encode("utf-16-be"), "a\nnew 1\nnew 2\n".encode("utf-16-be")),
        (b"a\x0c\n\xe2\x80\xa8x\nold\n", b"a\x0c\n\xe2\x80\xa8x\nnew 1\nnew 2\n"),
    ],
    ids=[
        "crlf",
        "mixed-lf",
        "mixed-crlf",
        "cr",
        "bom",
        "no-final-newline",
        "latin-1",
        "windows-1252",
        "broken-utf-8",
        "utf-16-bom",
        "utf-16-bare",
        "form-feed",
    ],
)
async def test_bytes_outside_the_edit_are_unchanged(
    box: Toolbox, before: bytes, after: bytes
) -> None:
    box.add({"f.txt": before})
    assert (await box.call("read", path="f.txt")).ok
    result = await box.call("edit", path="f.txt", old="old", new="new 1\nnew 2")
    assert result.ok, result.content
    assert box.data("f.txt") == after


async def test_old_can_span_lines_of_a_crlf_file(box: Toolbox) -> None:
    box.add({"f.txt": b"a\r\nb\r\nc\r\n"})
    result = await box.call("edit", path="f.txt", old="a\nb\n", new="x\n")
    assert result.ok
    assert box.data("f.txt") == b"x\r\nc\r\n"


async def test_character_that_the_encoding_cannot_represent_is_refused(box: Toolbox) -> None:
    box.add({"f.txt": b"gr\xfcn\n"})
    result = await box.call("edit", path="f.txt", old="grün", new="→")
    assert not result.ok
    assert "Latin-1" in result.content
    assert box.data("f.txt") == b"gr\xfcn\n"


# --- matching -----------------------------------------------------------------------------------

SOURCE = """class A:
    def first(self):
        x = 1
        return x

    def second(self):
        x = 2
        return x
"""


async def test_exact_match_is_replaced_and_a_small_diff_comes_back(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    result = await box.call("edit", path="a.py", old="x = 1", new="x = 10")
    assert result.ok
    assert box.text("a.py") == SOURCE.replace("x = 1\n", "x = 10\n")
    assert "-        x = 1\n+        x = 10" in result.content
    assert result.content.count("\n") < 10
    assert result.diff.startswith("--- a/a.py\n+++ b/a.py\n@@ -1,6 +1,6 @@")
    assert result.files_changed == ["a.py"]


async def test_several_matches_are_refused_with_their_lines(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    result = await box.call("edit", path="a.py", old="return x", new="return 0")
    assert not result.ok
    assert "2 times (lines 4, 8)" in result.content
    assert box.text("a.py") == SOURCE
    result = await box.call("edit", path="a.py", old="return x", new="return 0", all=True)
    assert result.ok
    assert box.text("a.py") == SOURCE.replace("return x", "return 0")


async def test_trailing_blanks_are_ignored_and_not_introduced(box: Toolbox) -> None:
    before = "a = 1   \nb = 2\nc = 3\n"
    box.add({"a.py": before})
    await box.call("read", path="a.py")
    result = await box.call(
        "edit", path="a.py", old="a = 1\nb = 2  \nc = 3", new="a = 1\nb = 20\nc = 3"
    )
    assert result.ok
    assert box.text("a.py") == "a = 1   \nb = 20\nc = 3\n"
    assert "allowing for" in result.content


async def test_unindented_text_gets_the_indentation_of_the_file(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    await box.call("read", path="a.py")
    result = await box.call(
        "edit",
        path="a.py",
        old="def first(self):\n    x = 1\n    return x",
        new="def first(self):\n    if self:\n        x = 1\n    return x",
    )
    assert result.ok
    assert box.text("a.py") == SOURCE.replace(
        "        x = 1\n", "        if self:\n            x = 1\n"
    )


async def test_spaces_become_the_tabs_of_the_file(box: Toolbox) -> None:
    box.add({"main.go": "package main\n\nfunc f() {\n\tx := 1\n\tif x {\n\t\tg()\n\t}\n}\n"})
    await box.call("read", path="main.go")
    result = await box.call(
        "edit",
        path="main.go",
        old="    x := 1\n    if x {\n        g()\n",
        new="    x := 1\n    if x {\n        h()\n        for {\n            g()\n        }\n",
    )
    assert result.ok
    assert box.text("main.go") == (
        "package main\n\nfunc f() {\n\tx := 1\n\tif x {\n"
        "\t\th()\n\t\tfor {\n\t\t\tg()\n\t\t}\n\t}\n}\n"
    )


async def test_unindented_first_line_shifts_the_others(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    result = await box.call(
        "edit", path="a.py", old="x = 1", new="if self:\n    x = 1\nelse:\n    x = 3"
    )
    assert result.ok
    indented = "        if self:\n            x = 1\n        else:\n            x = 3\n"
    assert box.text("a.py") == SOURCE.replace("        x = 1\n", indented)


async def test_line_numbers_copied_from_read_are_not_part_of_the_text(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    await box.call("read", path="a.py")
    result = await box.call(
        "edit",
        path="a.py",
        old="3\t        x = 1\n4\t        return x",
        new="3\t        x = 1\n4\t        return x + 1",
    )
    assert result.ok
    assert box.text("a.py") == SOURCE.replace(
        "x = 1\n        return x", "x = 1\n        return x + 1"
    )


async def test_elided_lines_are_kept(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    await box.call("read", path="a.py")
    result = await box.call(
        "edit",
        path="a.py",
        old="    def second(self):\n        ...\n        return x",
        new="    def second(self, y):\n        ...\n        return x + y",
    )
    assert result.ok
    assert box.text("a.py").endswith(
        "    def second(self, y):\n        x = 2\n        return x + y\n"
    )


async def test_lines_elided_by_an_ellipsis_are_never_removed(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    await box.call("read", path="a.py")
    result = await box.call(
        "edit",
        path="a.py",
        old="    def second(self):\n        ...\n        return x",
        new="    def second(self):\n        return 5",
    )
    assert not result.ok
    assert box.text("a.py") == SOURCE


async def test_tolerant_match_that_fits_twice_is_refused(box: Toolbox) -> None:
    twice = "if a:\n    x = 1\n    y = 2\nif b:\n    x = 1\n    y = 2\n"
    box.add({"a.py": twice})
    await box.call("read", path="a.py")
    result = await box.call("edit", path="a.py", old="x = 1\ny = 2", new="x = 3\ny = 2")
    assert not result.ok
    assert "fits 2 places (lines 2, 5)" in result.content
    assert box.text("a.py") == twice


async def test_tolerant_match_that_would_break_the_file_is_refused(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    await box.call("read", path="a.py")
    result = await box.call(
        "edit", path="a.py", old="def first(self):\n  x = 1", new="def first(self:\n  x = 1"
    )
    assert not result.ok
    assert "would not parse" in result.content
    assert box.text("a.py") == SOURCE


async def test_failure_shows_the_nearest_text_and_the_difference(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    result = await box.call(
        "edit", path="a.py", old="    def second(self):\n        x = 3\n", new="pass"
    )
    assert not result.ok
    assert "lines 6-7" in result.content
    assert "7\t        x = 2" in result.content
    assert "-        x = 3" in result.content
    assert "+        x = 2" in result.content
    assert box.text("a.py") == SOURCE


async def test_edit_that_was_already_made_is_reported(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    await box.call("edit", path="a.py", old="x = 2", new="x = 22")
    result = await box.call("edit", path="a.py", old="x = 2\n", new="x = 22\n")
    assert not result.ok
    assert "already in the file, at line 7" in result.content


async def test_several_edits_are_made_at_once(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    result = await box.call(
        "edit", path="a.py", old="x = 1", new="x = 2", more=[{"old": "x = 2", "new": "x = 1"}]
    )
    assert result.ok
    assert "x = 2\n        return x\n\n    def second(self):\n        x = 1" in box.text("a.py")


async def test_several_edits_are_atomic(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    result = await box.call(
        "edit", path="a.py", old="x = 1", new="x = 5", more=[{"old": "nothing", "new": "x"}]
    )
    assert not result.ok
    assert "Replacement 2 of 2" in result.content
    assert box.text("a.py") == SOURCE


async def test_an_edit_can_build_on_the_previous_one(box: Toolbox) -> None:
    box.add({"a.py": "x = 1\n"})
    result = await box.call(
        "edit", path="a.py", old="x = 1", new="y = 1", more=[{"old": "y = 1", "new": "z = 1"}]
    )
    assert result.ok
    assert box.text("a.py") == "z = 1\n"


async def test_file_that_no_longer_parses_is_reported(box: Toolbox) -> None:
    box.add({"a.py": SOURCE, "b.ts": "let a: number = 1;\n"})
    result = await box.call("edit", path="a.py", old="def second(self):", new="def second(self:")
    assert result.ok
    assert "a.py no longer parses; line 6" in result.content
    result = await box.call("edit", path="a.py", old="x = 1", new="x = 7")
    assert "parses" not in result.content  # it did not parse before either
    result = await box.call("edit", path="b.ts", old="= 1;", new="= (1;")
    assert "no longer parses; line 1" in result.content


# --- files that changed -------------------------------------------------------------------------


async def test_change_with_the_same_size_and_time_is_detected(box: Toolbox) -> None:
    box.add({"a.py": "x = 1\ny = 1\n"})
    await box.call("read", path="a.py")
    path = box.workspace / "a.py"
    before = path.stat()
    path.write_text("x = 1\ny = 2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    result = await box.call("edit", path="a.py", old="x = 1", new="x = 3")
    assert not result.ok
    assert "-y = 1\n+y = 2" in result.content
    assert box.text("a.py") == "x = 1\ny = 2\n"
    result = await box.call("edit", path="a.py", old="x = 1", new="x = 3")
    assert result.ok  # what changed was shown
    assert box.text("a.py") == "x = 3\ny = 2\n"


async def test_own_edits_need_no_new_read(box: Toolbox) -> None:
    box.add({"a.py": "x = 1\ny = 1\n"})
    await box.call("read", path="a.py")
    for n in range(1, 5):
        result = await box.call("edit", path="a.py", old=f"x = {n}", new=f"x = {n + 1}")
        assert result.ok
    assert (await box.call("write", path="a.py", content="z = 1\n")).ok
    assert (await box.call("edit", path="a.py", old="z = 1", new="z = 2")).ok


async def test_unread_file_accepts_only_an_exact_edit(box: Toolbox) -> None:
    box.add({"a.py": SOURCE})
    result = await box.call("edit", path="a.py", old="def second(self):\n  x = 2", new="pass")
    assert not result.ok
    assert box.text("a.py") == SOURCE
    assert (await box.call("edit", path="a.py", old="x = 2", new="x = 3")).ok


# --- actions ------------------------------------------------------------------------------------


def test_policy_gets_the_real_path_and_the_diff(box: Toolbox) -> None:
    box.add({"src/a.py": "x = 1\n"})
    read, write = box.actions("edit", path="a.py", old="x = 1", new="x = 2")
    path = str(box.workspace / "src/a.py")
    assert read == ReadPath(path=path)
    assert isinstance(write, WritePath)
    assert write.path == path
    assert "-x = 1\n+x = 2" in write.diff
    assert box.text("src/a.py") == "x = 1\n"


async def test_refused_change_cannot_become_an_undecided_write(box: Toolbox) -> None:
    """The file changes between the policy's question and the run."""
    box.add({"a.py": "y = 1\n"})
    tool = box.tools["edit"]
    arguments = tool.arguments.model_validate({"path": "a.py", "old": "x = 1", "new": "x = 2"})
    assert not any(isinstance(a, WritePath) for a in tool.actions(arguments, box.context))
    box.add({"a.py": "x = 1\n"})
    result = await tool.run(arguments, box.context)
    assert not result.ok
    assert box.text("a.py") == "x = 1\n"


@pytest.mark.parametrize("name", ["nope.py", "dir", "bin"])
async def test_uneditable_target_is_explained_in_a_line(box: Toolbox, name: str) -> None:
    (box.workspace / "dir").mkdir()
    box.add({"bin": b"\0\1\2"})
    result = await box.call("edit", path=name, old="x", new="y")
    assert not result.ok
    assert "\n" not in result.content
