"""`laguna memory`: what laguna remembers of past work in this repository."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from laguna_agent.errors import UsageError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint="`laguna memory --help` shows how.")


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    from laguna_agent.paths import repository_root

    options = _parser().parse_args(list(argv))
    start = Path(options.directory or ".").expanduser()
    if not start.is_dir():
        raise UsageError(f"{start} is not a directory")
    root = repository_root(start)
    match options.action:
        case "show":
            return _show(root, options.memory)
        case "search":
            return _search(root, " ".join(options.query), options.limit)
        case "forget":
            return _forget(root, options.memories)
        case "path":
            return _path(root, options.memory)
        case _:
            return _list(root, options)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="laguna memory", description="What laguna remembers of past work here.")
    common = _Parser(add_help=False)
    common.add_argument("-C", dest="directory", metavar="DIR", help="look in this directory")
    actions = parser.add_subparsers(dest="action", parser_class=_Parser, required=True)
    listing = actions.add_parser("list", parents=[common], help="the memories, newest first")
    listing.add_argument("--level", choices=["segment", "session", "week"])
    listing.add_argument("--json", action="store_true", help="one JSON array on standard output")
    show = actions.add_parser("show", parents=[common], help="one memory")
    show.add_argument("memory", help="an id or its beginning")
    search = actions.add_parser("search", parents=[common], help="find memories and events")
    search.add_argument("query", nargs="+", help="words and names, or `SESSION e12` for an event")
    search.add_argument("-n", "--limit", type=int, default=5)
    forget = actions.add_parser("forget", parents=[common], help="remove memories")
    forget.add_argument("memories", nargs="+", metavar="memory")
    path = actions.add_parser("path", parents=[common], help="where they are, to read and edit")
    path.add_argument("memory", nargs="?")
    return parser


def _list(root: Path, options: argparse.Namespace) -> int:
    from laguna_agent.memory.memory_store import MemoryStore

    found = list(MemoryStore(root).memories(options.level))
    if options.level is None:  # a session's file says what its segments say
        whole = {memory.session for memory in found if memory.level == "session"}
        found = [m for m in found if m.level != "segment" or m.session not in whole]
    found.sort(key=lambda memory: memory.ended, reverse=True)
    if options.json:
        rows = [memory.model_dump(mode="json", exclude={"body"}) for memory in found]
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return 0
    if not found:
        sys.stderr.write("No memories in this repository yet.\n")
        return 0
    width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 200
    for memory in found:
        line = f"{memory.id:<20}  {memory.ended[:10]}  {memory.level:<8}"
        line += f"{memory.outcome or '':<12}{memory.title}{'  (edited)' * memory.edited}"
        sys.stdout.write(line[:width].rstrip() + "\n")
    return 0


def _show(root: Path, name: str) -> int:
    from laguna_agent.memory.memory_store import MemoryStore

    memory = MemoryStore(root).get(name)
    assert memory.path is not None
    sys.stdout.write(memory.path.read_text(encoding="utf-8", errors="replace"))
    return 0


def _search(root: Path, query: str, limit: int) -> int:
    from laguna_agent.memory.recall import Recall

    recall = Recall(root)
    try:
        found = recall.answer(query, limit)
    finally:
        recall.close()
    if not found:
        sys.stderr.write(f"Nothing is on record about `{query}`.\n")
        return 1
    sys.stdout.write(found.encode("utf-8", "replace").decode("utf-8") + "\n")
    return 0


def _forget(root: Path, names: Sequence[str]) -> int:
    from laguna_agent.memory.memory_store import MemoryStore

    store = MemoryStore(root)
    chosen = [store.get(name) for name in names]
    gone = [path for memory in chosen for path in store.forget(memory)]
    sys.stderr.write(f"Removed {len(gone)} file{'s' if len(gone) != 1 else ''}. The sessions' "
                     "records stay: `laguna sessions delete ID` removes those.\n")  # fmt: skip
    return 0


def _path(root: Path, name: str | None) -> int:
    from laguna_agent.memory.memory_store import MemoryStore

    store = MemoryStore(root)
    path = store.directory if name is None else store.get(name).path
    sys.stdout.write(f"{path}\n")
    return 0
