"""Which layout of the weights first starts choose beside other work, against a quiet machine.

Prints the gain of repacked weights that each start measures, its error and the choice; then how
many chose otherwise than on the quiet machine, and what that costs.

    python benchmarks/layout_choice.py [--model FILE] [--starts 20] [--beside 4]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from laguna_agent.models.engine.repack_probe import Gain, repack_gain
from laguna_agent.models.engine.synthetic import cached_model
from laguna_agent.models.engine.tuning import repacked_is_faster
from laguna_agent.models.gguf import read_header
from laguna_agent.models.sizing.hardware import physical_cores

LOAD = "while True: sum(range(100_000))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a GGUF file (default: the tiny Laguna)")
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--beside", type=int, default=4, help="busy processes")
    options = parser.parse_args()
    header = read_header(options.model or cached_model("tiny"))

    def start(label: str) -> Gain:
        clock = time.perf_counter()
        gain = repack_gain(header, physical_cores())
        chosen = "repacked" if repacked_is_faster(gain) else "as in the file"
        sure = "clear" if gain.clear else "not clear"
        seconds = time.perf_counter() - clock
        print(f"{label:9} {gain.value:.3f} ± {gain.error:.3f}  {sure:9}  {chosen}  {seconds:.1f} s",
              flush=True)  # fmt: skip
        return gain

    quiet = start("quiet")
    others = [subprocess.Popen([sys.executable, "-c", LOAD]) for _ in range(options.beside)]
    try:
        gains = [start(f"start {number}") for number in range(1, options.starts + 1)]
    finally:
        for process in others:
            process.kill()
    best = repacked_is_faster(quiet)
    wrong = sum(repacked_is_faster(gain) != best for gain in gains)
    loss = abs(quiet.value - 1) if quiet.value else 0.0
    print(f"{wrong} of {len(gains)} chose otherwise; the other layout costs {loss:.0%}")


if __name__ == "__main__":
    main()
