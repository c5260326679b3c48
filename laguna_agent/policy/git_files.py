"""Which files of a working tree git ignores or tracks, and which are made again by a build.

Found without running git: the gate asks before each command.
"""

from __future__ import annotations

import fnmatch
import os
import re
from functools import lru_cache

from pathspec import GitIgnoreSpec

from laguna_agent.policy.git_references import read_plain

_REGENERABLE_NAMES = """
build dist target out bin obj node_modules bower_components __pycache__ .venv venv .virtualenv .tox
.nox .eggs *.egg-info *.dist-info .*cache .cache* *.pyc *.pyo *.o *.a *.so *.dylib *.dll *.class
*.obj *.exe *.whl *.tmp *.temp *.swp *~ *.log *.pid *.lock tmp temp logs log coverage htmlcov
.coverage .coverage.* coverage.xml lcov.info .nyc_output .hypothesis test-results playwright-report
junit.xml report.xml .next .nuxt .output .svelte-kit .turbo .angular .astro .vite .docusaurus
.gradle .dart_tool .ipynb_checkpoints Pods DerivedData elm-stuff .stack-work dist-newstyle _build
_site _deps deps site cmake-build-* build-* CMakeFiles CMakeCache.txt .terraform .serverless .bundle
.DS_Store Thumbs.db *.tsbuildinfo a.out core.[0-9]* bazel-* .direnv zig-out .build .clangd
"""
"""Names of what builds, package installers, caches and test runs make."""
_REGENERABLE = re.compile("|".join(map(fnmatch.translate, _REGENERABLE_NAMES.split())))


def is_regenerable(relative: str) -> bool:
    """Whether a path is plainly something that a build, an installer or a test run makes again."""
    return any(map(_REGENERABLE.match, relative.split("/")))


def is_ignored(root: str, relative: str) -> bool:
    """Whether the ignore files below `root` name `relative`, which git may track all the same."""
    parts = relative.split("/")
    folders = [""]
    for depth in range(1, len(parts) + 1):
        prefix = "/".join(parts[:depth])
        is_folder = depth < len(parts) or os.path.isdir(os.path.join(root, prefix))
        if _verdict(root, folders, prefix + "/" * is_folder):
            return True
        folders.append(prefix + "/")
    return False


def _verdict(root: str, folders: list[str], path: str) -> bool:
    """What the nearest ignore file that knows `path` says. `folders` are those above it."""
    sources = [(folder, os.path.join(root, folder, ".gitignore")) for folder in reversed(folders)]
    for folder, source in [*sources, ("", os.path.join(root, ".git", "info", "exclude"))]:
        spec = _spec(source, _stamp(source))
        if spec is not None:
            found = spec.check_file(path[len(folder) :]).include
            if found is not None:
                return bool(found)
    return False


@lru_cache(maxsize=256)
def _spec(path: str, stamp: tuple[int, int, int]) -> GitIgnoreSpec | None:
    usable = []
    for line in read_plain(path).split("\n") if stamp[1] else []:
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:  # one invalid pattern does not disable the others
            continue
        usable.append(line)
    return GitIgnoreSpec.from_lines(usable) if usable else None


def is_tracked(root: str, relative: str) -> bool:
    """Whether the index of the repository at `root` holds this file, or files below it."""
    path = os.path.join(root, ".git", "index")
    index = _index(path, _stamp(path))
    name = os.fsencode(relative)
    return name + b"\0" in index or name + b"/" in index


@lru_cache(maxsize=2)
def _index(path: str, stamp: tuple[int, int, int]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(64 << 20) if stamp[1] else b""
    except OSError:
        return b""


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        info = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (info.st_ino, info.st_size, info.st_mtime_ns)
