"""The cost of the first and of later checkpoints, compared with `git status` on the same tree.

    python benchmarks/checkpoints.py [--files 10000] [--rounds 5]

Everything happens in a temporary directory, which is removed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from laguna_agent.tools.checkpoints.checkpoints import Checkpoints


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def make_tree(root: Path, files: int) -> list[Path]:
    """A source tree of small files, a hundred to a folder."""
    chance = random.Random(7)
    paths = []
    for number in range(files):
        path = root / f"package{number // 100}" / f"module{number % 100}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"x{chance.random()} = {n}\n" for n in range(40)))
        paths.append(path)
    return paths


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="laguna-bench-") as scratch:
        root = Path(scratch, "work")
        root.mkdir()
        paths = make_tree(root, arguments.files)
        for command in (["init", "-q"], ["add", "."]):
            subprocess.run(["git", *command], cwd=root, check=True)
        checkpoints = Checkpoints(root, Path(scratch, "state"))
        first = seconds(lambda: checkpoints.record("first"))
        status, later, changed, restore = [], [], [], []
        chance = random.Random(8)
        for number in range(arguments.rounds):
            base = checkpoints.record("base")
            for path in chance.sample(paths, 20):
                path.write_text(f"changed {number}\n")
            command = ["git", "status", "--porcelain"]
            status.append(
                seconds(partial(subprocess.run, command, cwd=root, check=True, capture_output=True))
            )
            later.append(seconds(lambda: checkpoints.record("later")))
            changed.append(seconds(partial(checkpoints.changed_since, base)))
            restore.append(seconds(partial(checkpoints.restore, base)))
        figures = {
            "files": arguments.files,
            "first_s": first,
            "later_s": statistics.median(later),
            "changed_since_s": statistics.median(changed),
            "restore_20_files_s": statistics.median(restore),
            "later_per_git_status": statistics.median(later) / statistics.median(status),
        }
    print(json.dumps({key: round(value, 3) for key, value in figures.items()}, indent=2))
    return 0 if figures["later_s"] < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
