"""The status of a repository in a few lines: the branch, then paths by kind of change."""

from __future__ import annotations

import os
from collections.abc import Sequence

from laguna_agent.tools.repository.git_repository import GitRepository

_SHOWN = 50


def staged_paths(git: GitRepository, below: Sequence[str] = ()) -> list[str]:
    """What a commit would record, as `M path`; only what is below the paths, if any are given."""
    return _parse(git, below)[1]["staged"]


def render_status(git: GitRepository) -> str:
    """The status as text for the model."""
    branch, groups = _parse(git)
    lines = [branch]
    for name, paths in groups.items():
        if paths:
            more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
            lines.append(f"{name}: {', '.join(paths[:_SHOWN])}{more}")
    if len(lines) == 1:
        lines.append("nothing changed")
    return "\n".join(lines)


def _parse(git: GitRepository, below: Sequence[str] = ()) -> tuple[str, dict[str, list[str]]]:
    out = git.bytes(
        "status",
        *("--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignore-submodules=dirty"),
        *("--", *below),
    )
    head = upstream = distance = ""
    groups: dict[str, list[str]] = {"conflict": [], "staged": [], "changed": [], "new": []}
    fields = iter(out.split(b"\0"))
    for raw in fields:
        line = os.fsdecode(raw)
        kind, _, rest = line.partition(" ")
        if kind == "#":
            key, _, value = rest.partition(" ")
            if key == "branch.head":
                head = value
            elif key == "branch.upstream":
                upstream = value
            elif key == "branch.ab":
                ahead, behind = (int(number) for number in value.split())
                words = [f"{ahead} ahead"] if ahead else []
                words += [f"{-behind} behind"] if behind else []
                distance = " and ".join(words)
        elif kind in ("1", "2"):
            parts = rest.split(" ", 7 if kind == "1" else 8)
            staged, changed, path = parts[0][0], parts[0][1], parts[-1]
            if kind == "2":
                path = f"{os.fsdecode(next(fields, b''))} -> {path}"
            if staged != ".":
                groups["staged"].append(f"{staged} {path}")
            if changed != ".":
                groups["changed"].append(f"{changed} {path}")
        elif kind == "u":
            groups["conflict"].append(rest.split(" ", 9)[-1])
        elif kind == "?":
            groups["new"].append(rest)
    branch = f"on {head}" if head != "(detached)" else "no branch (detached HEAD)"
    if upstream:
        branch += f", {distance or 'even'} with {upstream}" if not distance else ""
        branch += f", {distance} of {upstream}" if distance else ""
    return branch, groups
