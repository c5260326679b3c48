"""Finds the check of a task: the command whose success means that the task is done.

A task names it in back-ticks or plain words ("until `pytest -q` passes"), on a line of its own
("check: make test"), or by naming a test file that exists.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

_RUNNERS = (
    r"(?:python3?|uv run|poetry run)\s+-m\s+(?:pytest|unittest)\b",
    r"(?:uv run |poetry run )?pytest\b",
    r"python3?\s+\S*test\S*\.py\b",
    r"(?:make|just)\s+(?:test|check|lint)\S*",
    r"(?:npm|pnpm|yarn|bun)\s+(?:run\s+)?test\b",
    r"npx\s+(?:jest|vitest|mocha|tsc)\b",
    r"node\s+--test\b",
    r"cargo\s+(?:test|check|clippy|build)\b",
    r"go\s+(?:test|vet|build)\b",
    r"(?:mvn|gradle|\./gradlew)\s+\S*test\b",
    r"(?:bundle exec )?(?:rspec|rake test)\b",
    r"ctest\b",
    r"tox\b",
    r"nox\b",
    r"(?:bash|sh)\s+\S*(?:test|check)\S*",
    r"\./\S*(?:test|check)\S*",
)
_RUNNER = re.compile(r"^(?:" + "|".join(_RUNNERS) + ")")
_PLAIN = re.compile(
    r"(?<![\w./-])(?:python3? -m (?:pytest|unittest)(?: -[a-z]+| [\w./:\[\]-]*test[\w./:\[\]-]*)*"
    r"|pytest(?: -[a-z]+| [\w./:\[\]-]*test[\w./:\[\]-]*)+|make (?:test|check)|npm test|cargo test"
    r"|go test \./\.\.\.)"
)
_LINE = re.compile(
    r"(?:^|[.;!?]\s)\s*(?:check|verify|test with)\s*:\s*(\S.*)$", re.IGNORECASE | re.MULTILINE
)
_TEST_FILE = re.compile(r"[\w./-]*test[\w-]*\.py|[\w./-]+_test\.py", re.IGNORECASE)
_ABOUT_TESTS = re.compile(
    r"\b(?:write|add|extend|update|create|improve|rewrite|change|correct|delete|remove)\b"
    r"[^.\n]{0,40}\btests?\b",
    re.IGNORECASE,
)


def named_check(task: str, workspace: Path) -> str | None:
    """The command that the task names as its check, or None."""
    line = _LINE.search(task)
    if line:
        return line.group(1).strip().strip("`")
    for quoted in re.findall(r"`([^`\n]+)`", task):
        if _RUNNER.match(quoted.strip()):
            return str(quoted.strip())
    plain = _PLAIN.search(task)
    if plain:
        return plain.group(0).strip()
    for name in _TEST_FILE.findall(task):
        path = workspace / name
        if (
            path.is_file()
            and not PurePosixPath(name).is_absolute()
            and ".." not in Path(name).parts
        ):
            return _command_for(path, name)
    return None


def _command_for(path: Path, name: str) -> str | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if re.search(r"^\s*(?:import|from) unittest\b", text, re.MULTILINE):
        return f"python3 -m unittest -q {name}"
    if "pytest" in text or re.search(r"^(?:async )?def test_", text, re.MULTILINE):
        return f"python3 -m pytest -q {name}"
    return None


def is_test_file(path: str) -> bool:
    """Whether a path is a test, by the conventions of common languages."""
    pure = PurePosixPath(path)
    name = pure.name.lower()
    if any(part.lower() in {"tests", "test", "__tests__", "spec"} for part in pure.parts[:-1]):
        return True
    stem = name.split(".")[0]
    return (
        stem.startswith("test_")
        or stem.endswith(("_test", "_spec"))
        or ".test." in name
        or ".spec." in name
        or name == "conftest.py"
    )


def tests_are_the_task(task: str) -> bool:
    """Whether the task asks to change tests, which are then not protected."""
    return bool(_ABOUT_TESTS.search(task))
