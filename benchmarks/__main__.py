"""All measurements, one after the other: `make bench`, or `python -m benchmarks [NAME...]`.

Each is a script in this folder that also runs alone, with its own options. The engine is
measured on the starter when it is installed, else on the tiny synthetic Laguna; `laguna bench
--synthetic xs` and `benchmarks/task.py` measure the full geometry, for which a machine needs 19 GB
of disk and of memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from laguna_agent.models.catalogue import STARTER
from laguna_agent.models.store import Store

HERE = Path(__file__).parent


def commands() -> dict[str, list[str]]:
    """What is run, by name."""
    scripts = ["policy", "codemap", "checkpoints", "edits", "trajectory", "tui", "completion"]
    found = {name: [str(HERE / f"{name}.py")] for name in [*scripts, "fit"]}
    installed = any(one.name == STARTER and one.present for one in Store().installed())
    model = ["--model", STARTER] if installed else ["--synthetic", "tiny"]
    return {**found, "engine": ["-m", "laguna_agent.cli", "bench", "--depths", "0,4096", *model]}


def main() -> int:
    known = commands()
    parser = argparse.ArgumentParser(description="All measurements, one after the other.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    names = parser.parse_args().names or list(known)
    if unknown := set(names) - set(known):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, *known[name]], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
