"""A map of a repository: its most referenced definitions, within a token budget."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from laguna_agent.tools.code.index import (
    Definition,
    FileIndex,
    IndexCache,
    SourceFile,
)
from laguna_agent.tools.files.encoding import printable_name
from laguna_agent.tools.files.read_state import digest

_CHARS_PER_TOKEN = 3.4
"""Estimated characters per token of a map, without a tokenizer."""
_DAMPING = 0.85
_ROUNDS = 12
_DATA = {"json", "toml", "yaml", "html", "css"}
_FAMILIES = {"javascript": "script", "typescript": "script", "tsx": "script", "cpp": "c"}
TEST_PATH = re.compile(
    r"(?:^|/)(?:tests?|spec|__tests__)/|(?:^|/)(?:test_|conftest)|[._]test\.|_spec\.", re.IGNORECASE
)
_KEPT = 4_000
"""Ranked definitions that are cached; more never fit a budget."""


class Ranked(NamedTuple):
    """A definition and its score."""

    score: float
    path: str
    definition: Definition


def rank(indexes: Mapping[str, FileIndex]) -> list[Ranked]:
    """All definitions, the most referenced first.

    A file's weight comes from the files that reference it (PageRank); a definition's score from
    the weights of the files that mention it, divided among files that define the same name.
    """
    code = {path: index for path, index in indexes.items() if index.language not in _DATA}
    # Look a name up only in files of the same family of languages.
    definers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path, index in code.items():
        for name in {_key(d.name) for d in index.definitions}:
            definers[_family(index), name].append(path)
    mentions: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    edges: dict[str, dict[str, float]] = {path: defaultdict(float) for path in code}
    for path, index in code.items():
        for word, count in index.words.items():
            owners = definers.get((_family(index), word))
            if owners is None or (owners == [path]):
                continue
            weight = math.sqrt(count) * _name_weight(word) / len(owners)
            mentions[_family(index), word].append((path, weight))
            for owner in owners:
                if owner != path:
                    edges[path][owner] += weight
    weights = _page_rank(edges)
    ranked = []
    for path, index in code.items():
        for definition in index.definitions:
            users = mentions.get((_family(index), _key(definition.name)), ())
            used = sum(weight * weights[user] for user, weight in users if user != path)
            score = (used + weights[path] * 0.02) * _definition_weight(path, definition)
            ranked.append(Ranked(score, path, definition))
    ranked.sort(key=lambda r: (-r.score, r.path, r.definition.line))
    return ranked


def _key(name: str) -> str:
    """The word that mentions a definition: the last part of `ns::Class::name`."""
    return name.replace("::", ".").rpartition(".")[2]


def _family(index: FileIndex) -> str:
    return _FAMILIES.get(index.language, index.language)


def _definition_weight(path: str, definition: Definition) -> float:
    """The weight of a definition by its depth, kind and file."""
    worth = 0.5**definition.depth
    if TEST_PATH.search(path):
        worth *= 0.1
    return worth if definition.kind not in ("constant", "variable", "field") else worth * 0.5


def _name_weight(name: str) -> float:
    """The weight of a mention of the name: low for short, private, magic and plain words, which
    name many things."""
    if len(name) < 3 or (name.startswith("__") and name.endswith("__")):
        return 0.0
    if name.startswith("_"):
        return 0.1
    if "_" not in name.strip("_") and name.lower() == name:
        return 0.2
    return 2.0 if len(name) >= 8 else 1.0


def _page_rank(edges: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    if not edges:
        return {}
    size = len(edges)
    sums = {path: sum(targets.values()) for path, targets in edges.items()}
    weights = dict.fromkeys(edges, 1.0 / size)
    for _ in range(_ROUNDS):
        loose = sum(weights[path] for path in edges if not sums[path])
        following = dict.fromkeys(edges, (1 - _DAMPING) / size + _DAMPING * loose / size)
        for path, targets in edges.items():
            if sums[path]:
                share = _DAMPING * weights[path] / sums[path]
                for target, weight in targets.items():
                    following[target] += share * weight
        weights = following
    return {path: weight * size for path, weight in weights.items()}


def ranking(cache: IndexCache, files: Sequence[SourceFile]) -> list[Ranked]:
    """The ranking of these files, cached until one of them changes."""
    state = "".join(f"{f.path}\0{f.hash}\0" for f in sorted(files, key=lambda f: f.path))
    key = f"map:2:{digest(state.encode('utf-8', 'surrogateescape'))}"
    stored = cache.load([key]).get(key)
    if stored is not None:
        try:
            return [Ranked(s, p, Definition(*d)) for s, p, d in json.loads(stored)]
        except (ValueError, TypeError):
            pass
    ranked = rank(cache.indexes(files))[:_KEPT]
    fields = [
        (
            round(r.score, 6),
            r.path,
            (
                r.definition.name,
                r.definition.kind,
                r.definition.line,
                r.definition.first,
                r.definition.last,
                r.definition.signature,
                r.definition.parent,
            ),
        )
        for r in ranked
    ]
    cache.store([(key, json.dumps(fields).encode())])
    return ranked


def render(ranked: Sequence[Ranked]) -> str:
    """The chosen definitions by file, with line numbers; the best file first."""
    by_file: dict[str, list[Definition]] = defaultdict(list)
    for item in ranked:
        by_file[item.path].append(item.definition)
    lines: list[str] = []
    for path, definitions in by_file.items():
        lines.append(f"{printable_name(path)}:")
        chosen = sorted(definitions, key=lambda d: d.line)
        names = {d.qualified for d in chosen}
        for d in chosen:
            # A method whose class is not shown names its class.
            whole = d.parent and d.parent not in names
            label = f"{d.parent}: {d.signature}" if whole else d.signature
            indent = " " * (1 if whole else 1 + d.depth)
            lines.append(f"{d.line}{indent}{label}")
    return "\n".join(lines)


def fit(ranked: Sequence[Ranked], budget: int, count: Callable[[str], int] | None = None) -> str:
    """The longest map within `budget` tokens, counted by `count` or estimated."""

    def fits(number: int) -> bool:
        text = render(ranked[:number])
        tokens = count(text) if count else len(text) / _CHARS_PER_TOKEN
        return tokens <= budget

    low, high = 0, min(len(ranked), budget)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return render(ranked[:low])
