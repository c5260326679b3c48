"""Edits with a model's usual mistakes: applied correctly or refused, never wrongly.

Made from the sources of installed packages; `benchmarks/edits.py` does it with the real changes
between their releases.
"""

from __future__ import annotations

import ast
import importlib.util
import random
from collections import Counter
from pathlib import Path

import pytest

from laguna_agent.tools.read import mark_read
from support.edit_drift import AMBIGUOUS, DRIFTS, Edit, edits_between
from support.toolbox import Toolbox

PACKAGES = ("textual", "pydantic", "git")


def changed(source: str, chance: random.Random) -> str:
    """The source with one function changed as a person might change it."""
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and len(node.body) > 2
    ]
    function = chance.choice(functions)
    lines = source.split("\n")
    statement = chance.choice(function.body[1:])
    row = statement.lineno - 1
    indent = lines[row][: len(lines[row]) - len(lines[row].lstrip())]
    last = statement.end_lineno or statement.lineno
    match chance.randrange(3):
        case 0:  # something is done before
            lines[row:row] = [f"{indent}if chance is None:", f"{indent}    prepare(chance)"]
        case 1:  # it is done on a condition
            body = [f"    {line}" if line.strip() else line for line in lines[row:last]]
            lines[row:last] = [f"{indent}if wanted:", *body]
        case _:  # something else is done
            lines[row:last] = [f"{indent}for item in replacement:", f"{indent}    use(item)"]
    return "\n".join(lines)


def sample(package: str, count: int) -> list[Edit]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    files = sorted(Path(spec.origin).parent.rglob("*.py"))
    chance = random.Random(package)
    edits: list[Edit] = []
    while len(edits) < count:
        path = chance.choice(files)
        source = path.read_text()
        try:
            after = changed(source, chance)
        except IndexError:
            continue
        edits += list(edits_between(path.name, source, after))[:1]
    return edits


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
async def test_drifted_edits_are_applied_correctly_or_refused(tmp_path: Path, package: str) -> None:
    box = Toolbox.at(tmp_path)
    edits = sample(package, 12)
    for kind, drift in DRIFTS.items():
        outcomes: Counter[str] = Counter()
        for number, edit in enumerate(edits):
            drifted = drift(edit, random.Random(f"{kind}{number}"))
            if drifted is None:
                continue
            box.add({"file.py": edit.before})
            mark_read(box.context, "file.py")
            result = await box.call("edit", path="file.py", old=drifted.old, new=drifted.new)
            after = box.text("file.py")
            if after == edit.after:
                outcomes["right"] += 1
            else:
                assert after == edit.before, f"{kind}: {drifted.old}\n→\n{result.content}"
                assert not result.ok
                outcomes["refused"] += 1
        if kind not in AMBIGUOUS:
            assert outcomes["right"] >= 0.9 * sum(outcomes.values()), (kind, outcomes)
