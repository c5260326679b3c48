"""The command that runs a repository's tests, as the repository's own files say.

It is a suggestion for people to read: nothing runs it unless they ask for it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

_MOST_BYTES = 200_000
_MOST_NAMES = 2_000
_TARGETS = ("test", "tests", "check")
_BY_FILE = {
    "Cargo.toml": "cargo test",
    "go.mod": "go test ./...",
    "mix.exs": "mix test",
    "Package.swift": "swift test",
    "deno.json": "deno test",
    "gradlew": "./gradlew test",
    "pom.xml": "mvn -q test",
    "build.gradle": "gradle test",
    "build.gradle.kts": "gradle test",
    ".rspec": "bundle exec rspec",
}
_PYTHON = {"pytest.ini", "pyproject.toml", "setup.cfg", "setup.py", "tox.ini", "conftest.py"}
_NO_TESTS = "no test specified"


def test_command(root: Path) -> str | None:
    """The command that runs the tests of the repository at `root`; None where none is plain.

    Reads a few files at the root, and runs nothing.
    """
    try:
        names = {path.name for _, path in zip(range(_MOST_NAMES), root.iterdir(), strict=False)}
    except OSError:
        return None
    for name in ("Makefile", "makefile", "GNUmakefile"):
        if name in names and (target := _target(_text(root / name), r"[^=\n]*:(?!=)")):
            return f"make {target}"
    for name in ("justfile", "Justfile"):
        if name in names and (target := _target(_text(root / name), r"[^=\n]*:(?!=)")):
            return f"just {target}"
    if "package.json" in names and (command := _of_package(_text(root / "package.json"), names)):
        return command
    for name, command in _BY_FILE.items():
        if name in names:
            return command
    return _of_python(root, names)


def _target(text: str, rest: str) -> str | None:
    """The first of the usual targets that a makefile or justfile has."""
    return next((t for t in _TARGETS if re.search(rf"^@?{t}\b{rest}", text, re.MULTILINE)), None)


def _of_package(text: str, names: set[str]) -> str | None:
    try:
        package = json.loads(text)
        script = package["scripts"]["test"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    if not isinstance(script, str) or not script.strip() or _NO_TESTS in script:
        return None
    locks = {"pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn", "bun.lock": "bun run",
             "bun.lockb": "bun run"}  # fmt: skip
    manager = next((locks[name] for name in locks if name in names), "npm")
    return f"{manager} test"


def _of_python(root: Path, names: set[str]) -> str | None:
    tests = [name for name in names if re.fullmatch(r"test_\w+\.py|\w+_test\.py", name)]
    folder = next((name for name in ("tests", "test") if name in names), None)
    if folder is not None and not tests:
        try:
            inside = [
                path.name for _, path in zip(range(200), (root / folder).iterdir(), strict=False)
            ]
        except OSError:
            inside = []
        tests = [name for name in inside if re.fullmatch(r"test_\w+\.py|\w+_test\.py", name)]
        tests += ["conftest.py"] if "conftest.py" in inside else []
        if not tests and not names & _PYTHON:
            return None
    if not tests:
        return None
    runner = "uv run " if "uv.lock" in names else "poetry run " if "poetry.lock" in names else ""
    return f"{runner}pytest -q" if runner else "python3 -m pytest -q"


def _text(path: Path) -> str:
    """A small file's text; empty for what is none, a pipe among them."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
