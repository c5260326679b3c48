"""How well `edit` applies real changes that were copied with a model's usual mistakes.

Fetches two versions each of three packages (`pip download`), takes the changes between them as
edits, gives each every kind of drift, and applies them with the edit tool to real files.

    python benchmarks/edits.py [--edits 300] [--show]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from laguna_agent.tools.edit import EditArguments, EditTool
from laguna_agent.tools.read import mark_read
from laguna_agent.tools.tool import ToolContext
from support.edit_drift import AMBIGUOUS, DRIFTS, Edit, edits_between

PACKAGES = [
    ("textual", "8.0.0", "8.2.8"),
    ("pydantic", "2.12.5", "2.14.4"),
    ("gitpython", "3.1.43", "3.2.1"),
]


def fetch(name: str, version: str, directory: Path) -> dict[str, str]:
    """The Python sources of a wheel, by path."""
    target = directory / f"{name}-{version}"
    if not target.is_dir():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
        ]
        subprocess.run([*command, f"{name}=={version}", "-d", str(target)], check=True)
    with zipfile.ZipFile(next(target.glob("*.whl"))) as wheel:
        return {
            path: wheel.read(path).decode("utf-8")
            for path in wheel.namelist()
            if path.endswith(".py")
        }


def collect(directory: Path, count: int) -> list[Edit]:
    """The same number of edits from each package, chosen by a fixed seed."""
    chosen: list[Edit] = []
    for name, before, after in PACKAGES:
        old, new = fetch(name, before, directory), fetch(name, after, directory)
        edits = [
            edit
            for path in sorted(set(old) & set(new))
            if old[path] != new[path]
            for edit in edits_between(path, old[path], new[path])
        ]
        random.Random(7).shuffle(edits)
        chosen += edits[: count // len(PACKAGES)]
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=300)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "edit-bench")
    parser.add_argument("--show", action="store_true", help="print what was wrong or refused")
    options = parser.parse_args()
    edits = collect(options.cache, options.edits)
    print(f"{len(edits)} edits from {', '.join(f'{n} {a} → {b}' for n, a, b in PACKAGES)}")
    worst, total = 1.0, Counter[str]()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory).resolve()
        for kind, drift in DRIFTS.items():
            results: Counter[str] = Counter()
            for number, edit in enumerate(edits):
                drifted = drift(edit, random.Random(f"{kind}{number}"))
                if drifted is None:
                    results["does not apply"] += 1
                    continue
                outcome, message = asyncio.run(apply(root, drifted))
                results[outcome] += 1
                if options.show and outcome != "right":
                    print(f"=== {kind} {outcome} {edit.path}\n--- old\n{drifted.old}")
                    print(f"--- new\n{drifted.new}\n--- result\n{message}")
            tried = results["right"] + results["wrong"] + results["refused"]
            rate = results["right"] / tried
            if kind not in AMBIGUOUS:
                worst = min(worst, rate)
            if kind != "exact":
                total += results
            print(
                f"{kind:16} right {results['right']:3}/{tried:3} ({rate:6.1%})  "
                f"wrong {results['wrong']}  refused {results['refused']}"
            )
    tried = total["right"] + total["wrong"] + total["refused"]
    rate = total["right"] / tried
    print(
        f"{'all drifts':16} right {total['right']:3}/{tried:3} ({rate:6.1%})  "
        f"wrong {total['wrong']}  refused {total['refused']}"
    )
    return 0 if min(worst, rate) >= 0.95 and not total["wrong"] else 1


async def apply(root: Path, edit: Edit) -> tuple[str, str]:
    """Make the edit to a real file; `right`, `wrong` or `refused`, and the tool's answer."""
    context = ToolContext(workspace=root, state_dir=root / ".state")
    path = root / "file.py"
    path.write_bytes(edit.before.encode())
    mark_read(context, "file.py")
    arguments = EditArguments(path="file.py", old=edit.old, new=edit.new)
    result = await EditTool().run(arguments, context)
    after = path.read_bytes().decode()
    if after == edit.after:
        return "right", result.content
    return ("refused" if after == edit.before else "wrong"), result.content


if __name__ == "__main__":
    raise SystemExit(main())
