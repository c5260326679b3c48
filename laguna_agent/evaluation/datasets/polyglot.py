"""Aider's polyglot benchmark: Exercism exercises in several languages, from a clone of it.

Source: https://github.com/Aider-AI/polyglot-benchmark. As Aider counts, the tests are hidden, and
there are two tries, the second with what the tests print. Java is left out, since its tests need
Gradle's downloads, as are exercises whose own files need crates that are not in Rust's library.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laguna_agent.errors import UsageError
from laguna_agent.evaluation.datasets.task_writer import write_task

ADDRESS = "https://github.com/Aider-AI/polyglot-benchmark"
_TIMEOUT = 600.0
_JUDGE_TIMEOUT = 180.0
_NOT_SHOWN = (".meta", ".docs", ".git", "LICENSE", ".eslintrc", ".npmrc", "babel.config.js",
              "package.json")  # fmt: skip
_PROMPT = """\
{instructions}

Follow these instructions in {solution}. Keep the names of functions and classes: hidden tests use \
them. Use the standard library only."""


@dataclass(frozen=True)
class _Language:
    needs: Sequence[str]
    judge: Callable[[Sequence[str]], Mapping[str, Any]]
    """Makes the case of the verification from the paths of the tests."""


def _judge_python(tests: Sequence[str]) -> Mapping[str, Any]:
    modules = [Path(test).stem for test in tests if test.endswith("_test.py")]
    return {
        "python": f"tests = unittest.defaultTestLoader.loadTestsFromNames({modules})\n"
        "count, shown = tests.countTestCases(), io.StringIO()\n"
        "done = unittest.TextTestRunner(stream=shown).run(tests)\n"
        "assert count and done.testsRun == count and done.wasSuccessful(), shown.getvalue()"
    }


def _judge_rust(tests: Sequence[str]) -> Mapping[str, Any]:
    names = " ".join(f"--test {Path(test).stem}" for test in tests if test.startswith("tests/"))
    return {
        "run": f"cargo test --offline -q {names} -- --include-ignored",
        "contains": ["test result: ok."],
        "lacks": ["running 0 tests"],
    }


def _judge_go(tests: Sequence[str]) -> Mapping[str, Any]:
    return {"run": "GOFLAGS=-mod=mod GOCACHE=$PWD/.go go test ./...", "contains": ["ok"]}


def _judge_cpp(tests: Sequence[str]) -> Mapping[str, Any]:
    flags = "-std=c++17 -pthread -DEXERCISM_RUN_ALL_TESTS"
    return {
        "run": f"g++ {flags} -o judge *.cpp test/tests-main.cpp && ./judge",
        "contains": ["All tests passed"],
    }


def _judge_javascript(tests: Sequence[str]) -> Mapping[str, Any]:
    return {
        "run": "NODE_OPTIONS=--experimental-vm-modules jest --config '{\"transform\": {}}' 2>&1",
        "contains": ["Tests:"],
        "lacks": [" failed,", "0 total"],
    }


_LANGUAGES = {
    "cpp": _Language(("g++",), _judge_cpp),
    "go": _Language(("go",), _judge_go),
    "javascript": _Language(("node", "jest"), _judge_javascript),
    "python": _Language((), _judge_python),
    "rust": _Language(("cargo",), _judge_rust),
}


def write_polyglot(clone: Path, folder: Path) -> None:
    """Write the exercises of a clone as tasks. Raises UsageError if it is no such clone."""
    found = 0
    for name, language in _LANGUAGES.items():
        for path in sorted((clone / name / "exercises" / "practice").glob("*/.meta/config.json")):
            try:
                _write_exercise(path.parent.parent, name, language, folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{path.parent.parent} cannot be read: {error}") from None
            found += 1
    if not found:
        raise UsageError(f"{clone} holds no exercises",
                         hint=f"Give a clone of {ADDRESS} as --data.")  # fmt: skip


def _write_exercise(exercise: Path, name: str, language: _Language, folder: Path) -> None:
    named = json.loads((exercise / ".meta" / "config.json").read_bytes())["files"]
    solution = [path for path in named["solution"] if not path.endswith("Cargo.toml")]
    tests = [*named["test"], *named.get("editor", ())]
    tests += [str(p.relative_to(exercise)) for p in (exercise / "tests").rglob("*") if p.is_file()]
    tests += [str(p.relative_to(exercise)) for p in (exercise / "test").rglob("*") if p.is_file()]
    if name == "rust" and _crates(exercise / "Cargo.toml"):
        return
    shown = {
        path: (exercise / path).read_bytes()
        for path in _files(exercise)
        if path not in tests and path.split("/")[0] not in _NOT_SHOWN
    }
    hidden: dict[str, bytes] = {path: (exercise / path).read_bytes() for path in sorted({*tests})}
    if name == "javascript":
        hidden["package.json"] = b'{"type": "module"}\n'
        hidden = {
            path: re.sub(rb"\bx(test|it|describe)\b", rb"\1", text) for path, text in hidden.items()
        }
    write_task(
        folder / f"{name}-{exercise.name}",
        {
            "prompt": _PROMPT.format(
                instructions=_instructions(exercise / ".docs"), solution=" and ".join(solution)
            ),
            "tags": [name],
            "needs": list(language.needs),
            "timeout": _TIMEOUT,
            "tries": 2,
            "verify": [{**language.judge(sorted({*tests})), "timeout": _JUDGE_TIMEOUT}],
        },
        files=shown,
        hidden=hidden,
        solution=_solution(exercise, solution, named["example"]),
    )


def _solution(exercise: Path, paths: Sequence[str], examples: Sequence[str]) -> dict[str, bytes]:
    """The example's files under the names that the solution has, matched by their endings."""
    found: dict[str, bytes] = {}
    for example in examples:
        ending = Path(example).suffix
        target = next((path for path in paths if path.endswith(ending)), None)
        if target is not None:
            found[target] = (exercise / example).read_bytes()
    cargo = exercise / ".meta" / "Cargo-example.toml"
    if cargo.is_file():
        found["Cargo.toml"] = cargo.read_bytes()
    return found


def _instructions(docs: Path) -> str:
    parts = [
        docs / f"{name}.md" for name in ("introduction", "instructions", "instructions.append")
    ]
    return "\n\n".join(path.read_text(encoding="utf-8").strip() for path in parts if path.is_file())


def _crates(manifest: Path) -> bool:
    return bool(tomllib.loads(manifest.read_text(encoding="utf-8")).get("dependencies"))


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(str(path.relative_to(folder)) for path in paths)
