"""What the documents mention exists: files, modules, names, links, commands and their flags."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from laguna_agent.actions import ReadPath
from laguna_agent.cli import COMMANDS, main
from laguna_agent.models.chat import FORMATS
from laguna_agent.tools.registry import validate_arguments
from support.toolbox import Toolbox

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
MAPS = ("architecture.md", "decisions.md", "AGENTS.md", "CONTRIBUTING.md", "README.md")
"""Documents whose paths are those of this repository; others also speak of a user's files."""
FOLDERS = ("laguna_agent", "tools", "models", "prompts", "tests", "benchmarks", "docs", ".ci")
PLACEHOLDER = re.compile(r"[A-Z]{3,}|[<>*…{}]")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def spans(document: Path) -> list[str]:
    """Everything that a document shows as code: between back-ticks, and the lines of blocks."""
    blocks = re.split(r"^```.*$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    prose, code = "\n".join(blocks[::2]), "\n".join(blocks[1::2])
    inline = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [*inline, *(line.strip() for line in code.splitlines())]


@cache
def sources() -> str:
    """The text of every module."""
    package = (ROOT / "laguna_agent", ROOT / "tools", ROOT / "models", ROOT / "prompts")
    files = [*(path for folder in package for path in folder.rglob("*.py"))]
    return "\n".join(
        path.read_text(encoding="utf-8") for path in [*files, *ROOT.glob("tests/**/*.py")]
    )


@cache
def help_text(*command: str) -> str:
    """What `laguna COMMAND --help` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return out.getvalue()


def commands(document: Path) -> Iterator[list[str]]:
    """The words of each `laguna …` that a document shows, up to a comment or a pipe."""
    for span in spans(document):
        found = re.match(r"(?:\$ )?laguna( .*)?$", span)
        if found is None:
            continue
        text = re.split(r"  |\s#|[|;]|&&|\[", (found[1] or "").strip())[0]
        with contextlib.suppress(ValueError):
            yield shlex.split(text)


@each_document
def test_local_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if not re.match(r"https?:|#", target):
            assert (document.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("name", MAPS)
def test_paths_of_this_repository_exist(name):
    (document,) = (path for path in DOCUMENTS if path.name == name)
    pattern = re.compile(rf"(?<![\w./~-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*")
    for span in spans(document):
        if PLACEHOLDER.search(span):
            continue
        for path in pattern.findall(span):
            assert (ROOT / path).exists(), path


@each_document
def test_dotted_names_can_be_imported(document):
    for name in re.findall(r"\blaguna_agent(?:\.\w+)+", document.read_text(encoding="utf-8")):
        if name.endswith(".py"):
            continue
        module, _, last = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), last), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["architecture.md", "AGENTS.md", "CONTRIBUTING.md"])
def test_classes_and_functions_are_defined(name):
    (document,) = (path for path in DOCUMENTS if path.name == name)
    for span in spans(document):
        for found in re.findall(r"^(?:\w+\.)*([A-Z]\w*[a-z]\w*|\w+(?=\())(?:\(.*\))?$", span):
            assert re.search(
                rf"\b(?:class|def) {found}\b|^{found}\b.*=", sources(), re.MULTILINE
            ), span


@each_document
def test_commands_and_their_flags_exist(document):
    for words in commands(document):
        command = words[:1] if words and words[0] in COMMANDS else []
        if command and re.match(r"usage:.*\.\.\.$", help_text(*command), re.MULTILINE):
            for name in words[1:2] and words[1].split("|"):
                assert re.search(rf"^ +{name}\b", help_text(*command), re.MULTILINE), words
            command += words[1:2] and [words[1].partition("|")[0]]
        text = help_text(*command)
        for flag in (word for word in words if re.match(r"--?[a-zA-Z]", word)):
            assert re.search(rf"(?<![\w-]){re.escape(flag.partition('=')[0])}\b", text), words


@pytest.mark.slow
def test_each_promise_about_an_attempt_names_its_tests():
    text = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| attempt | what happens | tests |\n|---|---|---|\n")
    rows = table.splitlines()
    assert rows
    for row in rows:
        names = re.findall(r"`([^`]+)`", row.rstrip(" |").rpartition(" | ")[2])
        assert names, row
        for name in names:
            is_file = name.startswith("tests/") and (ROOT / name).exists()
            assert is_file or re.search(rf"\bdef {name}\(", sources()), name


async def test_the_example_of_a_tool_is_one(tmp_path):
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    module = ModuleType("lines")
    exec(compile(code, "architecture.md", "exec"), module.__dict__)
    box = Toolbox.at(tmp_path)
    box.tools["lines"] = module.LinesTool()
    box.add({"a.py": "one\ntwo\n"})
    assert box.actions("lines", path="a.py") == [ReadPath(path=str(box.workspace / "a.py"))]
    assert (await box.call("lines", path="a.py")).content == "2 lines"
    assert not (await box.call("lines", path="../b.py")).ok
    example = validate_arguments(box.tools["lines"], module.LinesTool.example)
    assert isinstance(example, module.LinesArguments)


def test_the_guide_to_packs_names_every_chat_format():
    text = (ROOT / "docs" / "prompt-packs.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `chat_format` \|(.*)\|$", text, re.MULTILINE)
    assert tuple(re.findall(r"`(\w+)`", row)) == FORMATS


@each_document
def test_make_targets_exist(document):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for span in spans(document):
        for target in re.findall(r"(?:^|&& )make ([a-z][a-z-]*)", span):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), span
