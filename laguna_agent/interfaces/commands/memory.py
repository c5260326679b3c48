"""`laguna memory`: what laguna remembers of past work in this repository."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from laguna_agent.errors import ExitCode
from laguna_agent.interfaces.commands.command_line import (
    Parser,
    repository,
    whole_number,
    write_json,
    write_line,
)
from laguna_agent.plurals import counted

_MEMORY = "its id, or the beginning of it"


def main(argv: Sequence[str]) -> int:
    """Run `laguna memory ARGV`; returns the exit code."""
    options = make_parser().parse_args(argv)
    return int(options.run(options))


def make_parser() -> Parser:
    """The command line of `laguna memory`."""
    parser = Parser(
        prog="laguna memory",
        description="Memories of past work in this repository.",
        examples=(
            "laguna memory list",
            "laguna memory search parser rounding",
            "laguna memory forget 261128-101500",
        ),
    )
    actions = parser.add_actions()
    action = actions.add("list", _list, "List memories, newest first.")
    action.add_directory()
    action.add_argument("--level", choices=["segment", "session", "week"], help="only these")
    action.add_json()
    action = actions.add("show", _show, "Print a memory.")
    action.add_directory()
    action.add_argument("memory", metavar="MEMORY", help=_MEMORY)
    action = actions.add("search", _search, "Search memories and the events of sessions.")
    action.add_directory()
    action.add_argument("query", nargs="+", metavar="WORD",
                        help="words and names, or `SESSION e12` for one event")  # fmt: skip
    action.add_argument("-n", "--limit", type=whole_number(1), default=5, metavar="N",
                        help="how many results (default: 5)")  # fmt: skip
    action = actions.add("forget", _forget, "Delete memories.")
    action.add_directory()
    action.add_argument("memories", nargs="+", metavar="MEMORY", help=_MEMORY)
    action = actions.add("path", _path, "Print where memories are, to read and edit them.")
    action.add_directory()
    action.add_argument("memory", nargs="?", metavar="MEMORY", help=_MEMORY)
    return parser


def _list(options: argparse.Namespace) -> int:
    from laguna_agent.memory.memory_store import MemoryStore

    found = list(MemoryStore(repository(options)).memories(options.level))
    if options.level is None:  # a session's memory covers its segments
        covered = {memory.session for memory in found if memory.level == "session"}
        found = [m for m in found if m.level != "segment" or m.session not in covered]
    found.sort(key=lambda memory: memory.ended, reverse=True)
    if options.json:
        rows = [memory.model_dump(mode="json", exclude={"body"}) for memory in found]
        write_json(rows)
        return ExitCode.DONE
    if not found:
        sys.stderr.write("No memories in this repository yet.\n")
        return ExitCode.DONE
    width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 200
    for memory in found:
        line = f"{memory.id:<20}  {memory.ended[:10]}  {memory.level:<8}"
        line += f"{memory.outcome or '':<12}{memory.title}{'  (edited)' * memory.edited}"
        write_line(line[:width].rstrip())
    return ExitCode.DONE


def _show(options: argparse.Namespace) -> int:
    from laguna_agent.memory.memory_store import MemoryStore

    memory = MemoryStore(repository(options)).get(options.memory)
    assert memory.path is not None
    sys.stdout.write(memory.path.read_text(encoding="utf-8", errors="replace"))
    return ExitCode.DONE


def _search(options: argparse.Namespace) -> int:
    from laguna_agent.memory.recall import Recall

    query = " ".join(options.query)
    recall = Recall(repository(options))
    try:
        found = recall.answer(query, options.limit)
    finally:
        recall.close()
    if not found:
        sys.stderr.write(f"Nothing is on record about `{query}`.\n")
        return ExitCode.FAILED
    write_line(found.encode("utf-8", "replace").decode("utf-8"))
    return ExitCode.DONE


def _forget(options: argparse.Namespace) -> int:
    from laguna_agent.memory.memory_store import MemoryStore

    store = MemoryStore(repository(options))
    chosen = [store.get(name) for name in options.memories]
    deleted = [path for memory in chosen for path in store.forget(memory)]
    sys.stderr.write(f"Deleted {counted(len(deleted), 'file')}. The sessions themselves stay: "
                     "`laguna sessions delete ID` deletes those.\n")  # fmt: skip
    return ExitCode.DONE


def _path(options: argparse.Namespace) -> int:
    from laguna_agent.memory.memory_store import MemoryStore

    store = MemoryStore(repository(options))
    write_line(str(store.get(options.memory).path if options.memory else store.directory))
    return ExitCode.DONE
