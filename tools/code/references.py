"""Finds references to a name: its occurrences in code, not in comments or strings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from laguna_agent.tools.code.index import SourceFile
from laguna_agent.tools.code.languages import parse


@dataclass(frozen=True)
class Reference:
    """One occurrence. `line` is 1-based."""

    path: str
    line: int
    text: str


def references(files: Iterable[SourceFile], name: str) -> list[Reference]:
    """Every mention of the name outside comments and strings, one per line."""
    word = re.compile(rb"(?<![\w$])" + re.escape(name.encode()) + rb"(?![\w$])")
    found: list[Reference] = []
    for source in files:
        spans = [m.span() for m in word.finditer(source.data)]
        if not spans:
            continue
        root = parse(source.language, source.data).root_node
        last = 0
        for start, end in spans:
            node = root.named_descendant_for_byte_range(start, end)
            if node is None or _is_text(node.type):
                continue
            line = source.data.count(b"\n", 0, start) + 1
            if line == last:
                continue
            last = line
            begin = source.data.rfind(b"\n", 0, start) + 1
            stop = source.data.find(b"\n", end)
            text = source.data[begin : stop if stop >= 0 else None].decode("utf-8", "replace")
            found.append(Reference(source.path, line, text.strip()))
    return found


def _is_text(kind: str) -> bool:
    return "comment" in kind or (
        ("string" in kind or kind in ("text", "raw_text", "heredoc_body", "char_literal"))
        and "interpolation" not in kind
    )
