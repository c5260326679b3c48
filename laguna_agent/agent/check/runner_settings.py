"""Which files decide how tests run, and what they say about it.

A check passes as well when its runner collects nothing (`addopts = --co`) or forgives failures, so
the settings of test runners are protected like the tests. Files that hold other settings too, such
as `pyproject.toml`, may be changed as long as what they say about tests stays.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

_RUNNER_FILE = re.compile(
    r"\.?pytest\.(ini|toml)|conftest\.py|sitecustomize\.py|usercustomize\.py|nose\.cfg|\.noserc"
    r"|noxfile\.py|(jest|vitest|karma|ava|cypress|playwright|wdio|protractor|mocha)\.(config|conf|"
    r"setup|workspace)\.\w+|\.?mocharc(\.\w+)?|mocha\.opts|\.taprc|\.nycrc(\.\w+)?|\.c8rc(\.\w+)?"
    r"|\.rspec(-local)?|phpunit(\.dist)?\.xml(\.dist)?|\.phpunit\.xml|pest\.php|nextest\.toml"
    r"|testng\.xml|junit-platform\.properties|ctestcustom\.cmake|bunfig\.toml|maven\.config",
    re.IGNORECASE,
)
_IN_PLACE_OF_RUNNER = re.compile(
    r"(_?pytest|pluggy|iniconfig|unittest)(\.py|/__(init|main)__\.py)", re.IGNORECASE
)
"""Modules at the top of a workspace that Python takes for those of a test runner."""
_INI = ("setup.cfg", "tox.ini")
_SCRIPTS = re.compile(r"(?:pre|post)?(?:test|check|spec|verify)\b.*", re.IGNORECASE)
_MENTIONS = re.compile(
    r"test|spec|check|verify|script-shell|(?-i:^\s*(export\s+)?(SHELL|\.SHELLFLAGS|MAKEFLAGS|\.IGNORE)\b)",
    re.IGNORECASE,
)
_SCRIPT_NAME = re.compile(r"test|spec|check|verify|\bci\b|lint|validate", re.IGNORECASE)
_TEXT = re.compile(
    r"(gnu)?makefile|justfile|rakefile|build\.gradle(\.kts)?|pom\.xml|cmakelists\.txt|meson\.build"
    r"|vite\.config\.\w+|\.npmrc",
    re.IGNORECASE,
)
_MIXED = re.compile(r"pyproject\.toml|package\.json|composer\.json|cargo\.toml", re.IGNORECASE)
_SKIPPED = {".git", "node_modules", ".venv", "venv", "target", "dist", "build", "__pycache__"}
_MOST_FOLDERS = 500
_DEPTH = 3
_LIMIT = 1 << 20


def is_runner_file(path: str) -> bool:
    """Whether a file is about nothing but how tests run."""
    pure = PurePosixPath(path)
    cargo = pure.parts[-2:] in ((".cargo", "config.toml"), (".cargo", "config"))
    replaces = _IN_PLACE_OF_RUNNER.fullmatch(path) is not None
    return cargo or replaces or _RUNNER_FILE.fullmatch(pure.name) is not None


def names_check_script(command: str, path: str) -> bool:
    """Whether a check runs this file, by its name a script for checking and not what is checked."""
    named = any(os.path.normpath(word) == path for word in re.split(r"[\s'\"();&|=]+", command))
    return named and _SCRIPT_NAME.search(PurePosixPath(path).name) is not None


def is_shared(path: str) -> bool:
    """Whether a file may hold settings of a test runner among others."""
    name = PurePosixPath(path).name
    return name in _INI or any(pattern.fullmatch(name) for pattern in (_MIXED, _TEXT))


def all_settings(workspace: Path) -> dict[str, str]:
    """What the shared files near the top of a workspace say about tests, by relative path."""
    found: dict[str, str] = {}
    for count, (folder, folders, files) in enumerate(os.walk(workspace)):
        relative = os.path.relpath(folder, workspace)
        deep = relative.count("/") >= _DEPTH - 1 and relative != "."
        folders[:] = [] if deep or count > _MOST_FOLDERS else sorted(set(folders) - _SKIPPED)
        for name in files:
            path = os.path.normpath(os.path.join(relative, name))
            if is_shared(path):
                found[path] = settings_about_tests(workspace, path)
    return found


def settings_about_tests(workspace: Path, path: str) -> str:
    """What a shared file says about tests, in a form that compares; empty if nothing."""
    place, name = workspace / path, PurePosixPath(path).name.lower()
    try:
        if not place.is_file() or place.stat().st_size > _LIMIT:
            return ""
        text = place.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    try:
        if name in _INI:
            return _ini(text)
        if name.endswith(".toml"):
            return _compared(_cargo(text) if name == "cargo.toml" else _pyproject(text))
        if name.endswith(".json"):
            return _compared(_package(text))
    except (ValueError, configparser.Error):
        return text  # it does not parse: any change counts
    return _lines_about_tests(text)


def _compared(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str) if value else ""


def _ini(text: str) -> str:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    kept = {name: dict(parser[name]) for name in parser.sections() if _about_tests(name)}
    return _compared(kept)


def _about_tests(name: str) -> bool:
    return bool(re.search(r"test|tox|nose|coverage", name))


def _pyproject(text: str) -> dict[str, Any]:
    tool = tomllib.loads(text).get("tool", {})
    kept = {name: value for name, value in tool.items() if _about_tests(name)}
    for runner, key in (("poe", "tasks"), ("taskipy", "tasks"), ("pdm", "scripts")):
        tasks = tool.get(runner, {}).get(key, {})
        kept[runner] = {name: value for name, value in tasks.items() if _SCRIPTS.fullmatch(name)}
    return {name: value for name, value in kept.items() if value}


def _cargo(text: str) -> dict[str, Any]:
    data = tomllib.loads(text)
    kept = {"test": data.get("test"), "profile": data.get("profile", {}).get("test")}
    for part in ("lib", "bin", "package"):
        tables = data.get(part, {})
        for table in tables if isinstance(tables, list) else [tables]:
            for key in ("test", "doctest", "autotests", "harness"):
                if key in table:
                    kept[f"{part}.{key}"] = table[key]
    return {name: value for name, value in kept.items() if value is not None}


def _package(text: str) -> dict[str, Any]:
    data = json.loads(text)
    if not isinstance(data, dict):
        return {}
    scripts = data.get("scripts", {})
    kept = {name: value for name, value in scripts.items() if _SCRIPTS.fullmatch(name)}
    runners = ("jest", "mocha", "vitest", "ava", "nyc", "c8", "tap", "karma")
    return kept | {name: data[name] for name in runners if name in data}


def _lines_about_tests(text: str) -> str:
    """Lines that speak of tests, each with the indented lines that follow it."""
    kept: list[str] = []
    inside: int | None = None
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if inside is not None and line.strip() and indent <= inside:
            inside = None
        if inside is None and _MENTIONS.search(line):
            inside = indent
        if inside is not None:
            kept.append(line.rstrip())
    return "\n".join(line for line in kept if line)
