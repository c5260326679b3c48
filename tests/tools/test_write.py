"""write: whole files, without destroying what a model has not read."""

from __future__ import annotations

import pytest

from laguna_agent.actions import WritePath
from laguna_agent.tools.read import mark_read
from support.toolbox import Toolbox


async def test_new_file_is_created_with_its_directories(box: Toolbox) -> None:
    result = await box.call("write", path="a/b/c.py", content="x = 1\ny = 2\n")
    assert result.ok
    assert box.text("a/b/c.py") == "x = 1\ny = 2\n"
    assert result.content == "Created a/b/c.py (+2 -0)."
    assert result.files_changed == ["a/b/c.py"]


def test_actions_of_a_new_file_create_nothing(box: Toolbox) -> None:
    [action] = box.actions("write", path="a/new.py", content="x = 1\n")
    assert isinstance(action, WritePath)
    assert "+x = 1" in action.diff
    assert list(box.workspace.iterdir()) == []


async def test_unread_file_is_shown_before_it_can_be_replaced(box: Toolbox) -> None:
    box.add({"a.py": "important = 1\n"})
    result = await box.call("write", path="a.py", content="x = 1\n")
    assert not result.ok
    assert "1\timportant = 1" in result.content
    assert box.text("a.py") == "important = 1\n"
    assert (await box.call("write", path="a.py", content="x = 1\n")).ok
    assert box.text("a.py") == "x = 1\n"


async def test_partly_read_file_is_not_replaced(box: Toolbox) -> None:
    text = "".join(f"line_{n} = {n}\n" for n in range(2_000))
    box.add({"a.py": text})
    await box.call("read", path="a.py", start=1, end=20)
    for _ in range(2):
        result = await box.call("write", path="a.py", content="x = 1\n")
        assert not result.ok
        assert "only a part" in result.content
        assert "It has 2,000 lines" in result.content
        assert "line_1" not in result.content
    assert box.text("a.py") == text


async def test_file_read_in_pieces_counts_as_read(box: Toolbox) -> None:
    box.add({"a.py": "".join(f"line_{n} = {n}\n" for n in range(100))})
    await box.call("read", path="a.py", start=1, end=50)
    await box.call("read", path="a.py", start=51)
    assert (await box.call("write", path="a.py", content="x = 1\n")).ok


async def test_file_shown_in_the_first_message_counts_as_read(box: Toolbox) -> None:
    box.add({"a.py": "x = 1\n"})
    mark_read(box.context, "a.py")
    mark_read(box.context, "missing.py")
    assert (await box.call("write", path="a.py", content="x = 2\n")).ok


async def test_file_that_changed_since_is_not_replaced(box: Toolbox) -> None:
    box.add({"a.py": "x = 1\n"})
    await box.call("read", path="a.py")
    box.add({"a.py": "x = 5\n"})
    result = await box.call("write", path="a.py", content="x = 2\n")
    assert not result.ok
    assert "+x = 5" in result.content
    assert box.text("a.py") == "x = 5\n"


@pytest.mark.parametrize(
    "comment",
    [
        "# ... rest of the code unchanged",
        "# rest of the file stays the same",
        "// existing code",
        "# ... existing methods ...",
        "# (other functions remain unchanged)",
        "# ...",
        "    # unchanged",
        "/* ... remaining implementation ... */",
    ],
)
async def test_content_with_placeholders_is_refused(box: Toolbox, comment: str) -> None:
    before = "".join(f"f{n} {n}\n\n" for n in range(10))
    box.add({"a.conf": before})
    await box.call("read", path="a.conf")
    result = await box.call("write", path="a.conf", content=f"f0 5\n\n{comment}\n")
    assert not result.ok
    assert "line 3 leaves code out" in result.content
    assert box.text("a.conf") == before


async def test_a_placeholder_for_other_functions_leaves_them_as_they_are(box: Toolbox) -> None:
    before = "".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(10))
    box.add({"a.py": before})
    content = "def f0():\n    return 5\n\n# ... rest of the code unchanged\n"
    assert (await box.call("write", path="a.py", content=content)).ok
    assert box.text("a.py") == before.replace("return 0", "return 5")


@pytest.mark.parametrize(
    "line",
    ["# Return the rest of the list", "rest = other[1:]", "# the same code path as f", "..."],
)
async def test_ordinary_lines_are_not_placeholders(box: Toolbox, line: str) -> None:
    box.add({"a.conf": "a = 1\nb = 2\nc = 3\nd = 4\n"})
    await box.call("read", path="a.conf")
    assert (await box.call("write", path="a.conf", content=f"a = 1\n{line}\n")).ok
    assert box.text("a.conf") == f"a = 1\n{line}\n"


async def test_unchanged_lines_keep_their_bytes(box: Toolbox) -> None:
    box.add({"a.txt": b"one\r\ntwo\nthree\r\n"})
    await box.call("read", path="a.txt")
    assert (await box.call("write", path="a.txt", content="one\ntwo\nTHREE\nfour")).ok
    assert box.data("a.txt") == b"one\r\ntwo\nTHREE\r\nfour\r\n"


async def test_fence_around_the_whole_content_is_not_written(box: Toolbox) -> None:
    await box.call("write", path="a.py", content="```python\nx = 1\n```")
    assert box.text("a.py") == "x = 1\n"
    await box.call("write", path="a.md", content="```python\nx = 1\n```\n")
    assert box.text("a.md") == "```python\nx = 1\n```\n"


async def test_new_file_that_does_not_parse_is_reported(box: Toolbox) -> None:
    result = await box.call("write", path="a.py", content="def f(:\n    pass\n")
    assert result.ok
    assert "a.py does not parse; line 1" in result.content


async def test_directory_is_not_written(box: Toolbox) -> None:
    (box.workspace / "d").mkdir()
    for path in ("d", "new/", "."):
        result = await box.call("write", path=path, content="x")
        assert not result.ok
        assert "directory" in result.content
    assert not (box.workspace / "new").exists()


async def test_a_path_of_windows_names_a_file_in_a_folder_that_is_there(box: Toolbox) -> None:
    box.add({"src/a.txt": ""})
    result = await box.call("write", path="src\\b.txt", content="b\n")
    assert result.content.startswith("Taken as src/b.txt.")
    assert box.text("src/b.txt") == "b\n"
    assert (await box.call("write", path="odd\\name", content="o\n")).ok
    assert box.text("odd\\name") == "o\n"


async def test_the_number_of_a_line_is_no_part_of_a_name(box: Toolbox) -> None:
    box.add({"a.py": "x = 1\n"})
    for path in ("a.py:1", "a.py:1:5", "a.py#L1"):
        result = await box.call("edit", path=path, old="x = 1", new="x = 1")
        assert result.content == "old and new are the same; nothing was changed."
    assert not (await box.call("write", path="a.py:1", content="y = 1\n")).ok  # it was not read
    assert [path.name for path in box.workspace.iterdir()] == ["a.py"]


async def test_a_new_name_cannot_forge_a_line(box: Toolbox) -> None:
    result = await box.call("write", path="x\nCreated y", content="n\n")
    assert result.content == "Created x\\x0aCreated y (+1 -0)."


RECORDS = "[\n" + "".join(
    f' {{\n  "sku": "KB-{n}",\n  "price": {n}.5,\n  "stock": {n}\n }},\n' for n in range(500)
)
"""Five lines each: the one of KB-7 is lines 37 to 41."""


@pytest.mark.parametrize(
    "content",
    [
        ' {\n  "sku": "KB-7",\n  "price": 9,\n  "stock": 7\n },\n',
        '  "sku": "KB-7",\n  "price": 9,\n  "stock": 7\n',
        ' {\n  "sku": "KB-7",\n  "price": 9,\n  "colour": "red",\n  "stock": 7\n },',
        '{\n  "stock": 6\n },\n {\n  "sku": "KB-7",\n  "price": 9,\n  "stock": 7\n }\n[lines 4-9]',
    ],
)
async def test_lines_that_were_shown_of_a_long_file_can_be_written_alone(
    box: Toolbox, content: str
) -> None:
    box.add({"all.json": RECORDS})
    mark_read(box.context, "all.json", range(33, 46))
    result = await box.call("write", path="all.json", content=content)
    assert result.ok, result.content
    assert "Replaced lines 3" in result.content
    text = box.text("all.json")
    assert '"price": 9,' in text
    assert len(text.split("\n")) == len(RECORDS.split("\n")) + ("colour" in content)
    assert (
        text.replace('  "colour": "red",\n', "").replace('"price": 9,', '"price": 7.5,') == RECORDS
    )


@pytest.mark.parametrize(
    "content",
    [
        '  "price": 9,\n',  # one line has no end to compare
        '{\n"sku": "KB-7",\n"price": 9,\n"stock": 7\n}\n',  # indented otherwise
        ' {\n  "a": 1,\n  "b": 2,\n  "c": 3\n },\n',  # other lines
        ' {\n  "sku": "KB-20",\n  "price": 9,\n  "stock": 20\n },\n',  # lines not shown
    ],
)
async def test_other_lines_of_a_long_file_are_not_written(box: Toolbox, content: str) -> None:
    box.add({"all.json": RECORDS})
    mark_read(box.context, "all.json", range(33, 46))
    result = await box.call("write", path="all.json", content=content)
    assert not result.ok
    assert box.text("all.json") == RECORDS


async def test_lines_of_a_file_that_changed_since_are_not_written(box: Toolbox) -> None:
    box.add({"all.json": RECORDS})
    mark_read(box.context, "all.json", range(33, 46))
    box.add({"all.json": "\n" + RECORDS})
    content = ' {\n  "sku": "KB-7",\n  "price": 9,\n  "stock": 7\n },\n'
    assert not (await box.call("write", path="all.json", content=content)).ok


BLOCKS = "".join(f"- image: web\n  port: {n}\n  tty: true\n" for n in range(100))


@pytest.mark.parametrize(
    "content",
    [
        "- image: web\n  port: 81\n  tty: true\n",  # it may be any of them
        "  port: 11\n# ... rest unchanged\n  port: 15\n",
        "  port: 11\n...\n  port: 15\n",
        "  port: 11\n  port: 15\n",  # what was between them is left out
    ],
)
async def test_lines_whose_place_or_rest_is_not_clear_are_not_written(
    box: Toolbox, content: str
) -> None:
    box.add({"all.yaml": BLOCKS})
    mark_read(box.context, "all.yaml", range(30, 61))
    result = await box.call("write", path="all.yaml", content=content)
    assert not result.ok
    assert box.text("all.yaml") == BLOCKS
