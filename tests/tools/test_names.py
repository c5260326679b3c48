"""File names that look the same and are not: each tool finds the file that is meant, and no tool
makes a twin of it."""

from __future__ import annotations

import os
import unicodedata

import pytest

from laguna_agent.actions import ReadPath, WritePath
from laguna_agent.tools.code.names import with_imports
from support.toolbox import Toolbox

NFC, NFD = (unicodedata.normalize(form, "résumé é한글.txt") for form in ("NFC", "NFD"))
ALIKE = [
    (NFD, NFC),
    (NFC, NFD),
    (f"dossier é/{NFD}".replace("é", "e\u0301"), f"dossier é/{NFC}"),
    ("Screenshot 2026-01-01 at 9.41.00\u202fAM.txt", "Screenshot 2026-01-01 at 9.41.00 AM.txt"),
    ("a\u00a0b.txt", "a b.txt"),
    ("it’s “new”.txt", 'it\'s "new".txt'),
    ("a–b.txt", "a-b.txt"),
    ("trailing .txt ", "trailing .txt"),
    ("zero\u200bwidth.txt", "zerowidth.txt"),
]


def files(box: Toolbox) -> list[str]:
    found = [os.path.join(folder, n) for folder, _, names in os.walk(box.workspace) for n in names]
    return sorted(os.path.relpath(path, box.workspace) for path in found)


@pytest.mark.parametrize(("on_disk", "asked"), ALIKE)
async def test_every_tool_finds_the_file_that_is_meant(
    box: Toolbox, on_disk: str, asked: str
) -> None:
    box.add({on_disk: "needle\n", "other.txt": "needle\n"})
    real = str(box.workspace / on_disk)
    assert box.actions("read", path=asked) == [ReadPath(path=real)]
    shown = await box.call("read", path=asked)
    assert "1\tneedle" in shown.content
    assert "On disk, " in shown.content
    found = await box.call("search", pattern="needle", path=asked)
    assert "1 match in 1 file" in found.content
    assert (await box.call("edit", path=asked, old="needle", new="edited")).ok
    assert box.text(on_disk) == "edited\n"
    action = box.actions("write", path=asked, content="written\n")[-1]
    assert isinstance(action, WritePath)
    assert action.path == real
    assert (await box.call("write", path=asked, content="written\n")).ok
    assert box.text(on_disk) == "written\n"
    assert files(box) == sorted([on_disk, "other.txt"])


@pytest.mark.parametrize(("on_disk", "asked"), ALIKE[:3])
async def test_names_and_globs_are_found_in_either_form(
    box: Toolbox, on_disk: str, asked: str
) -> None:
    box.add({on_disk: "needle\n", "other.txt": "needle\n"})
    name = asked.rpartition("/")[2]
    for arguments in (
        {"pattern": name, "mode": "files"},
        {"pattern": name[:8], "mode": "files"},
        {"pattern": "needle", "glob": name},
        {"pattern": "needle", "glob": f"**/{name}"},
    ):
        result = await box.call("search", **arguments)
        assert on_disk in result.content
        assert "other" not in result.content


@pytest.mark.parametrize(("text", "asked"), [(NFD, NFC), (NFC, NFD)])
async def test_text_is_found_and_edited_in_either_form(box: Toolbox, text: str, asked: str) -> None:
    box.add({"a.txt": f"one\nx {text} y\n"})
    result = await box.call("search", pattern=asked)
    assert "another Unicode form" in result.content
    assert f"2: x {text} y" in result.content
    await box.call("read", path="a.txt")
    assert (await box.call("edit", path="a.txt", old=f"x {asked} y", new="z")).ok
    assert box.text("a.txt") == "one\nz\n"


async def test_a_new_file_goes_into_the_folder_that_is_there(box: Toolbox) -> None:
    box.add({"cafe\u0301/a.txt": "1\n"})
    assert (await box.call("write", path="café/sub/new.txt", content="2\n")).ok
    assert files(box) == ["cafe\u0301/a.txt", "cafe\u0301/sub/new.txt"]


async def test_of_several_that_look_the_same_none_is_taken(box: Toolbox) -> None:
    box.add({"a\u00a0b.txt": "1\n", "a\u202fb.txt": "2\n"})
    for call in (
        {"tool": "read"},
        {"tool": "write", "content": "3\n"},
        {"tool": "edit", "old": "1", "new": "3"},
        {"tool": "search", "pattern": "1"},
    ):
        result = await box.call(path="a b.txt", **call)
        assert not result.ok
        assert result.content == (
            "a b.txt does not exist; there is 'a\\xa0b.txt' or 'a\\u202fb.txt'."
        )
    assert box.text("a\u00a0b.txt") == "1\n"
    assert len(files(box)) == 2


async def test_an_exact_name_wins(box: Toolbox) -> None:
    box.add({"café.txt": "composed\n", "cafe\u0301.txt": "decomposed\n"})
    assert (await box.call("read", path="café.txt")).content == "1\tcomposed"
    assert (await box.call("read", path="cafe\u0301.txt")).content == "1\tdecomposed"


async def test_case_is_guessed_for_reading_and_kept_for_writing(box: Toolbox) -> None:
    box.add({"README.md": "one\n"})
    assert "1\tone" in (await box.call("read", path="readme.MD")).content
    assert (await box.call("edit", path="Readme.md", old="one", new="two")).ok
    assert (await box.call("write", path="other/readme.md", content="x\n")).ok
    assert (await box.call("write", path="readme.md", content="x\n")).ok
    assert files(box) == ["README.md", "other/readme.md", "readme.md"]


async def test_a_link_of_another_spelling_does_not_lead_out(box: Toolbox) -> None:
    outside = box.workspace.parent / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret\n")
    (box.workspace / "cafe\u0301").symlink_to(outside)
    for tool, more in (("read", {}), ("write", {"content": "x\n"})):
        result = await box.call(tool, path="café/secret.txt", **more)
        assert not result.ok
        assert "outside the workspace" in result.content
    assert (outside / "secret.txt").read_text() == "secret\n"


DOCUMENTED = '"""Doc."""\nfrom __future__ import annotations\n\n'


@pytest.mark.parametrize(
    ("text", "made"),
    [
        (
            "def f(x):\n    return math.pi * x\n",
            "import math\n\n\ndef f(x):\n    return math.pi * x\n",
        ),
        (
            f"{DOCUMENTED}import os\n\nx = os.sep, re.M\n",
            f"{DOCUMENTED}import re\nimport os\n\nx = os.sep, re.M\n",
        ),
        (
            "@cache.it\ndef f():\n    return re.M\n",
            "import re\n\n\n@cache.it\ndef f():\n    return re.M\n",
        ),
        ("def f():\n    return string\n", None),
        ("def f():\n    return numpy.pi\n", None),
        ("def f(re):\n    return re.M\n", None),
        ("def f(:\n    return re.M\n", None),
    ],
)
def test_modules_that_are_used_are_imported(text: str, made: str | None) -> None:
    assert with_imports("a.py", text) == (text if made is None else made)
    assert with_imports("a.js", text) == text


@pytest.mark.parametrize(
    ("text", "before", "added"),
    [
        ("ask()\n", "from client import N, ask\n", "from client import ask\n\n\n"),
        ("import os\nnp.zeros(os)\n", "import numpy as np\n", "import numpy as np\n"),
        ("a.b.c()\n", "import a.b\n", "import a.b\n\n\n"),
        ("ask()\n", "from . import ask as put\n", None),
        ("print(total())\n", "", "from shop import total\n\n\n"),
        ("print(LIMIT)\n", "", "from shop import LIMIT\n\n\n"),
        ("print(BOTH)\n", "", None),
        ("print(inner)\n", "", None),
        ("print(total)\ndef total():\n    pass\n", "", None),
        ("print(total(\n", "", None),
        ("print(size)\n", "", None),
        (
            "xml.dom.f()\n",
            "import xml.dom\nimport xml.sax\n",
            "import xml.dom\nimport xml.sax\n\n\n",
        ),
        (
            "tomllib.loads()\n",
            "try:\n    import tomllib\nexcept E:\n    import t as tomllib\n",
            None,
        ),
        ('"""Doc."""; print(LIMIT)\n', "", None),
    ],
)
def test_imports_come_back_or_from_where_a_name_is_defined(
    text: str, before: str, added: str | None
) -> None:
    modules = {
        "shop": "LIMIT = 2\nsize = 3\nBOTH = 1\ndef total():\n    inner = 1\n",
        "other": "BOTH: int = 2\n",
        "broken": "def total(:\n",
    }
    made = with_imports("a.py", text, before, modules)
    assert made == (text if added is None else added + text)
