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
from typing import TYPE_CHECKING, TextIO

from laguna_agent.atomic_write import atomic_stream
from laguna_agent.errors import ExitCode, LagunaError, UsageError
from laguna_agent.interfaces.commands.command_line import (
    Parser,
    confirm,
    repository,
    whole_number,
    write_json,
    write_line,
)
from laguna_agent.interfaces.phrases import age
from laguna_agent.plurals import counted

if TYPE_CHECKING:
    from laguna_agent.trajectory.codec import StoredEvent
    from laguna_agent.trajectory.meta import Meta
    from laguna_agent.trajectory.store import Trajectory

_SESSION = "its id, or a part of it that no other id has"


def main(argv: Sequence[str]) -> int:
    """Run `laguna sessions ARGV`; returns the exit code."""
    options = make_parser().parse_args(argv)
    return int(options.run(options))


def make_parser() -> Parser:
    """The command line of `laguna sessions`."""
    parser = Parser(
        prog="laguna sessions",
        description="Past sessions of this repository.",
        examples=(
            "laguna sessions list",
            "laguna sessions show 261128-101500",
            "laguna sessions export 261128-101500 --format html -o session.html",
        ),
    )
    actions = parser.add_actions()

    action = actions.add("list", _list, "List sessions, newest first.")
    action.add_directory()
    action.add_argument("-n", "--limit", type=whole_number(0), default=30, metavar="N",
                        help="how many; 0 for all (default: 30)")  # fmt: skip
    action.add_json()

    action = actions.add("show", _show, "Print what happened in a session.")
    action.add_directory()
    action.add_argument("session", metavar="SESSION", help=_SESSION)
    action.add_argument("--replay", action="store_true", help="step through it, event by event")
    action.add_argument("--verify", action="store_true",
                        help="run the model again and compare its replies")  # fmt: skip
    action.add_argument("--from", dest="first", type=int, default=0, metavar="N",
                        help="from event N")  # fmt: skip
    action.add_argument("--to", dest="last", type=int, metavar="N", help="up to event N")

    action = actions.add("export", _export, "Export a session as ATIF, HTML, Markdown or JSONL.")
    action.add_directory()
    action.add_argument("session", metavar="SESSION", help=_SESSION)
    action.add_argument("--format", choices=["atif", "html", "markdown", "jsonl"],
                        help="default: by the file's ending, else atif")  # fmt: skip
    action.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    action.add_argument("--redact", action="store_true",
                        help="remove what looks like a secret, and report it")  # fmt: skip
    action.add_argument("--no-token-ids", action="store_true", help="a smaller ATIF file")

    action = actions.add("delete", _delete, "Delete sessions permanently.")
    action.add_directory()
    action.add_argument("sessions", nargs="*", metavar="SESSION", help=_SESSION)
    action.add_argument("--older-than", metavar="DAYS", type=float,
                        help="all that were last used more than DAYS days ago")  # fmt: skip
    action.add_argument("--yes", action="store_true", help="do not ask")
    return parser


# --- list -----------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    from laguna_agent.trajectory.index import SessionIndex

    with SessionIndex(repository(options)) as index:
        found = index.rows(limit=options.limit or None)
    if options.json:
        write_json(found)
        return ExitCode.DONE
    if not found:
        sys.stderr.write("No sessions in this repository yet.\n")
        return ExitCode.DONE
    width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 200
    now = datetime.now(UTC)
    for row in found:
        status, steps = row.get("status", "open"), row.get("steps", 0)
        line = f"{row['id']:<18}  {age(row.get('updated', ''), now):>4}  {status:<11}"
        line += f"  {counted(steps, 'step'):>10}  {row.get('title') or '(no messages yet)'}"
        if row.get("parent"):
            line += f"  (fork of {row['parent']})"
        write_line(line[:width].rstrip())
    return ExitCode.DONE


# --- show -----------------------------------------------------------------------------------


def _show(options: argparse.Namespace) -> int:
    from laguna_agent.trajectory.document import write_markdown

    trajectory = _open(options)
    if options.verify:
        from laguna_agent.interfaces.commands.replay_check import verify

        return verify(trajectory)
    if options.replay:
        _replay(trajectory, options)
    else:
        write_markdown(_range(trajectory, options), trajectory.meta, sys.stdout)
    _report_problems(trajectory)
    return ExitCode.DONE


def _replay(trajectory: Trajectory, options: argparse.Namespace) -> None:
    """Print one event after the other; on a terminal, wait for a key after each."""
    from io import StringIO

    from laguna_agent.trajectory.document import is_shown, write_markdown

    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    for stored in _range(trajectory, options):
        if not is_shown(stored.event):
            continue
        page = StringIO()
        write_markdown([stored], trajectory.meta, page)
        text = page.getvalue()
        sys.stdout.write(text[text.index(f"## e{stored.seq} ") :])
        sys.stdout.flush()
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


def _export(options: argparse.Namespace) -> int:
    from laguna_agent.trajectory.redact import Redacted, Redactor, redacted_meta

    trajectory = _open(options)
    redactor: Redactor | None = None
    source: Trajectory | Redacted = trajectory
    meta = trajectory.meta
    if options.redact:
        redactor = Redactor()
        source = Redacted(trajectory, redactor)
        meta = redacted_meta(source, meta)
    file_format = options.format or _format_of(options.output)
    with _out(options.output) as out:
        match file_format:
            case "html" | "markdown":
                from laguna_agent.trajectory.document import write_html, write_markdown

                write = write_html if file_format == "html" else write_markdown
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
    _report_problems(trajectory)
    if options.output and options.output != "-":
        sys.stderr.write(f"{file_format}: {options.output}\n")
    return ExitCode.DONE


def _format_of(output: str | None) -> str:
    endings = {".html": "html", ".htm": "html", ".md": "markdown", ".jsonl": "jsonl"}
    return endings.get(Path(output or "").suffix.lower(), "atif")


@contextmanager
def _out(output: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that is written whole or not at all."""
    if output in (None, "-"):
        yield sys.stdout
        return
    path = Path(str(output)).expanduser()
    try:
        with atomic_stream(path) as file:
            yield file
    except OSError as error:
        raise LagunaError(f"{path} cannot be written: {error.strerror}") from error


# --- delete ---------------------------------------------------------------------------------


def _delete(options: argparse.Namespace) -> int:
    from laguna_agent.trajectory.index import SessionIndex
    from laguna_agent.trajectory.store import delete_session, is_locked

    with SessionIndex(repository(options)) as index:
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
        sessions = counted(len(chosen), "session")
        if not options.yes and not confirm(f"Delete {sessions} permanently?", hint="Add --yes."):
            return ExitCode.FAILED
        for path in chosen.values():
            delete_session(path)
        index.count()  # brings the index up to date
    sys.stderr.write(f"Deleted {sessions}. Their memories stay: "
                     "`laguna memory forget ID` removes those.\n")  # fmt: skip
    return ExitCode.DONE


def _is_before(meta: Meta, before: datetime) -> bool:
    try:
        return datetime.fromisoformat(meta.updated) < before
    except (ValueError, TypeError):
        return False


# --- shared ---------------------------------------------------------------------------------


def _open(options: argparse.Namespace) -> Trajectory:
    """The session that `options.session` names."""
    from laguna_agent.trajectory.index import SessionIndex
    from laguna_agent.trajectory.store import Trajectory

    with SessionIndex(repository(options)) as index:
        return Trajectory.open(index.resolve(options.session), for_append=False)


def _report_problems(trajectory: Trajectory) -> None:
    for problem in dict.fromkeys(trajectory.problems):
        sys.stderr.write(f"laguna: {problem}\n")
