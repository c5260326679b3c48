"""`laguna sessions`: list, show, step through, export and delete past sessions."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from laguna_agent.atomic_write import atomic_stream
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.interfaces.phrases import age

if TYPE_CHECKING:
    from laguna_agent.trajectory.codec import StoredEvent
    from laguna_agent.trajectory.meta import Meta
    from laguna_agent.trajectory.store import Trajectory


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint="`laguna sessions --help` shows how.")


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(list(argv))
    root = _root(options)
    match options.action:
        case "show":
            return _show(root, options)
        case "export":
            return _export(root, options)
        case "delete":
            return _delete(root, options)
        case _:
            return _list(root, options)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="laguna sessions", description="Past sessions of this repository.")
    common = _Parser(add_help=False)
    common.add_argument("-C", dest="directory", metavar="DIR", help="look in this directory")
    actions = parser.add_subparsers(dest="action", parser_class=_Parser, required=True)

    listing = actions.add_parser("list", parents=[common], help="the sessions, newest first")
    listing.add_argument("-n", "--limit", type=int, default=30, help="how many (0: all)")
    listing.add_argument("--json", action="store_true", help="one JSON array on standard output")

    show = actions.add_parser("show", parents=[common], help="what happened, as text")
    show.add_argument("session", help="an id, or a part of it that only one has")
    show.add_argument("--replay", action="store_true", help="step through it, event by event")
    show.add_argument("--verify", action="store_true",
                      help="ask the model again for what it wrote, and compare")  # fmt: skip
    show.add_argument("--from", dest="first", type=int, default=0, metavar="N", help="from event N")
    show.add_argument("--to", dest="last", type=int, metavar="N", help="up to event N")

    export = actions.add_parser("export", parents=[common], help="as a file for others")
    export.add_argument("session", help="an id, or a part of it that only one has")
    export.add_argument("--format", choices=["atif", "html", "markdown", "jsonl"],
                        help="default: by the file's ending, else atif")  # fmt: skip
    export.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    export.add_argument("--redact", action="store_true",
                        help="take out what looks like a secret, and say what")  # fmt: skip
    export.add_argument("--no-token-ids", action="store_true", help="a smaller atif file")

    delete = actions.add_parser("delete", parents=[common], help="remove sessions for good")
    delete.add_argument("sessions", nargs="*", metavar="session")
    delete.add_argument("--older-than", metavar="DAYS", type=float, help="all last used before")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _root(options: argparse.Namespace) -> Path:
    from laguna_agent.paths import repository_root

    start = Path(options.directory or ".").expanduser()
    if not start.is_dir():
        raise UsageError(f"{start} is not a directory")
    return repository_root(start)


# --- list -----------------------------------------------------------------------------------


def _list(root: Path, options: argparse.Namespace) -> int:
    from laguna_agent.trajectory.index import SessionIndex

    with SessionIndex(root) as index:
        found = index.rows(limit=options.limit or None)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return 0
    if not found:
        sys.stderr.write("No sessions in this repository yet.\n")
        return 0
    width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 200
    now = datetime.now(UTC)
    for row in found:
        status, steps = row.get("status", "open"), row.get("steps", 0)
        line = f"{row['id']:<18}  {age(row.get('updated', ''), now):>4}  {status:<11}"
        line += f"  {steps:>4} steps  {row.get('title') or '(nothing said yet)'}"
        if row.get("parent"):
            line += f"  (fork of {row['parent']})"
        sys.stdout.write(line[:width].rstrip() + "\n")
    return 0


# --- show -----------------------------------------------------------------------------------


def _show(root: Path, options: argparse.Namespace) -> int:
    from laguna_agent.trajectory.document import write_markdown

    trajectory = _open(root, options.session)
    if options.verify:
        from laguna_agent.interfaces.commands.replay_check import verify

        return verify(trajectory)
    if options.replay:
        _replay(trajectory, options)
    else:
        write_markdown(_range(trajectory, options), trajectory.meta, sys.stdout)
    _tell_problems(trajectory)
    return 0


def _replay(trajectory: Trajectory, options: argparse.Namespace) -> None:
    """One event after the other; on a terminal, a key goes on and q ends."""
    from io import StringIO

    from laguna_agent.trajectory.document import is_shown, write_markdown

    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    shown = 0
    for stored in _range(trajectory, options):
        if not is_shown(stored.event):
            continue
        page = StringIO()
        write_markdown([stored], trajectory.meta, page)
        text = page.getvalue()
        sys.stdout.write(text[text.index(f"## e{stored.seq} ") :])
        sys.stdout.flush()
        shown += 1
        if interactive:
            sys.stderr.write(f"-- e{stored.seq} of {trajectory.last_seq}: Enter next, q quit -- ")
            sys.stderr.flush()
            answer = sys.stdin.readline()
            if not answer or answer.strip().lower() in ("q", "quit"):
                return
        else:
            sys.stdout.write("\n")


def _range(trajectory: Trajectory, options: argparse.Namespace) -> Iterator[StoredEvent]:
    for stored in trajectory.events(options.first):
        if options.last is not None and stored.seq > options.last:
            return
        yield stored


# --- export ---------------------------------------------------------------------------------


def _export(root: Path, options: argparse.Namespace) -> int:
    from laguna_agent.trajectory.redact import Redacted, Redactor, redacted_meta

    trajectory = _open(root, options.session)
    redactor: Redactor | None = None
    source: Trajectory | Redacted = trajectory
    meta = trajectory.meta
    if options.redact:
        redactor = Redactor()
        source = Redacted(trajectory, redactor)
        meta = redacted_meta(source, meta)
    form = options.format or _form_of(options.output)
    with _out(options.output) as out:
        match form:
            case "html" | "markdown":
                from laguna_agent.trajectory.document import write_html, write_markdown

                write = write_html if form == "html" else write_markdown
                write(source.events(), meta, out)
            case "jsonl":
                for stored in source.events():
                    fields = {"seq": stored.seq, "ts": stored.ts, **stored.event.model_dump()}
                    out.write(json.dumps(fields) + "\n")
            case _:
                from laguna_agent.trajectory.atif import write_atif

                ids = not (options.redact or options.no_token_ids)
                notes = "Secrets were removed by pattern." if options.redact else ""
                write_atif(source, out, session=trajectory.id, token_ids=ids, notes=notes)
    if redactor is not None:
        sys.stderr.write(f"{redactor.report()}\n")
    _tell_problems(trajectory)
    if options.output and options.output != "-":
        sys.stderr.write(f"{form}: {options.output}\n")
    return 0


def _form_of(output: str | None) -> str:
    endings = {".html": "html", ".htm": "html", ".md": "markdown", ".jsonl": "jsonl"}
    return endings.get(Path(output or "").suffix.lower(), "atif")


@contextmanager
def _out(output: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears whole or not at all."""
    if output in (None, "-"):
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a real stream
        yield sys.stdout
        return
    path = Path(str(output)).expanduser()
    try:
        with atomic_stream(path) as file:
            yield file
    except OSError as error:
        raise LagunaError(f"{path} cannot be written: {error.strerror}") from error


# --- delete ---------------------------------------------------------------------------------


def _delete(root: Path, options: argparse.Namespace) -> int:
    from laguna_agent.trajectory.index import SessionIndex
    from laguna_agent.trajectory.store import is_locked

    with SessionIndex(root) as index:
        chosen = {path.name: path for path in map(index.resolve, options.sessions)}
        if options.older_than is not None:
            before = datetime.now(UTC) - timedelta(days=options.older_than)
            for meta in index.sessions():
                if _is_before(meta, before):
                    chosen[meta.id] = index.sessions_dir / meta.id
        if not chosen:
            raise UsageError("no session to delete", hint="Name some, or use --older-than DAYS.")
        in_use = [name for name, path in chosen.items() if is_locked(path)]
        if in_use:
            raise UsageError(f"session {in_use[0]} is in use by another laguna")
        if any(path.parent != index.sessions_dir for path in chosen.values()):
            raise UsageError("only sessions of this repository can be deleted here")
        if not options.yes and not _confirmed(len(chosen)):
            return 1
        for path in chosen.values():
            try:
                shutil.rmtree(path)
            except OSError as error:
                raise LagunaError(f"{path} cannot be deleted: {error.strerror}") from error
        index.count()  # follow what is gone
    count = len(chosen)
    sys.stderr.write(f"Deleted {count} session{'s' if count != 1 else ''}. Summaries of them stay: "
                     "`laguna memory forget ID` removes those.\n")  # fmt: skip
    return 0


def _is_before(meta: Meta, before: datetime) -> bool:
    try:
        return datetime.fromisoformat(meta.updated) < before
    except (ValueError, TypeError):
        return False


def _confirmed(count: int) -> bool:
    what = f"{count} session{'s' if count != 1 else ''}"
    if not sys.stdin.isatty():
        raise UsageError(f"deleting {what} needs a yes", hint="Add --yes.")
    sys.stderr.write(f"Delete {what} for good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# --- shared ---------------------------------------------------------------------------------


def _open(root: Path, name: str) -> Trajectory:
    from laguna_agent.trajectory.index import SessionIndex
    from laguna_agent.trajectory.store import Trajectory

    with SessionIndex(root) as index:
        return Trajectory.open(index.resolve(name), for_append=False)


def _tell_problems(trajectory: Trajectory) -> None:
    for problem in dict.fromkeys(trajectory.problems):
        sys.stderr.write(f"laguna: {problem}\n")
