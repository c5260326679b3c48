"""How long a repository map takes at first, again, and after a change, for 100,000 lines.

Uses the sources of installed packages. Prints seconds and the ratio to the first run.

    python benchmarks/codemap.py [--lines 100000]
"""

from __future__ import annotations

import argparse
import shutil
import sysconfig
import tempfile
import time
from pathlib import Path

from laguna_agent.tools.code.index import IndexCache, source_files
from laguna_agent.tools.code.repository_map import fit, ranking


def gather(target: Path, wanted: int) -> int:
    """Copy packages until there are enough lines; returns how many."""
    lines = 0
    for package in sorted(Path(sysconfig.get_path("purelib")).iterdir()):
        files = sorted(package.rglob("*.py")) if package.is_dir() else []
        for file in files:
            if lines >= wanted:
                return lines
            copy = target / package.name / file.relative_to(package)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            lines += copy.read_bytes().count(b"\n")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root, cache = Path(directory, "repo").resolve(), Path(directory, "cache")
        lines = gather(root, options.lines)
        files = list(root.rglob("*.py"))
        print(f"{lines:,} lines in {len(files):,} files")
        first = 0.0
        for label in ("first", "again", "after a change"):
            if label == "after a change":
                files[0].write_text(files[0].read_text() + "\n\ndef added_since(): ...\n")
            start = time.perf_counter()
            text = fit(ranking(IndexCache(cache), list(source_files(root))), 1_500)
            taken = time.perf_counter() - start
            first = first or taken
            print(f"{label:15} {taken:6.2f} s  × {taken / first:.3f}  ({len(text):,} characters)")


if __name__ == "__main__":
    main()
