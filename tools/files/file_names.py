"""Finds files by name: part of it, a glob, or a regular expression."""

from __future__ import annotations

import fnmatch
import re

from pathspec import GitIgnoreSpec


def match_names(paths: list[str], pattern: str) -> list[str]:
    """Paths that match a name, part of a name, a glob or an expression, best first."""
    pattern = pattern.strip().removeprefix("./")
    folded = pattern.lower()
    ranked: list[tuple[int, int, int, str]] = []
    expression = None
    if re.escape(pattern).replace("\\", "") != pattern or any(c in pattern for c in "^$|+()"):
        try:
            expression = re.compile(pattern, re.IGNORECASE)
        except re.error:
            expression = None
    is_glob = any(c in pattern for c in "*?[")
    globs = GitIgnoreSpec.from_lines([pattern]) if is_glob else None
    for path in paths:
        lowered = path.lower()
        name = lowered.rpartition("/")[2]
        if name == folded or lowered == folded:
            score = 0
        elif name.rpartition(".")[0] == folded:
            score = 1
        elif is_glob and globs is not None:
            if globs.match_file(path) or fnmatch.fnmatchcase(name, folded):
                score = 2
            elif expression is not None and expression.search(path):
                score = 5
            else:
                continue
        elif name.startswith(folded):
            score = 2
        elif folded in name:
            score = 3
        elif folded in lowered:
            score = 4
        elif expression is not None and expression.search(path):
            score = 5
        else:
            continue
        ranked.append((score, path.count("/"), len(path), path))
    return [path for *_, path in sorted(ranked)]
