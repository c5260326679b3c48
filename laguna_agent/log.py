"""The log of what laguna does, `laguna.log` in the state directory, for a user to send.

At the default level (info) it names what ran and how long it took, never what was in it: no text
of a task, a message, a file, a command, an output or an error. `LAGUNA_LOG=debug` or `--verbose`
adds sizes, notices and the texts of errors; `LAGUNA_LOG=warning` leaves only what went wrong.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from laguna_agent.clip import clip
from laguna_agent.errors import UsageError
from laguna_agent.paths import make_private, state_dir

if TYPE_CHECKING:
    from laguna_agent.actions import Decision
    from laguna_agent.events import Event

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
MAX_BYTES = 1 << 20
"""Size at which the log is renamed to `laguna.log.1`, which replaces the one before."""

logger = logging.getLogger("laguna")
logger.propagate = False
logger.addHandler(logging.NullHandler())

_FORMAT = "%(asctime)s.%(msecs)03dZ %(process)d %(levelname)-7s %(message)s"
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
_FLAG = re.compile(r"(--[a-z][a-z-]*)(?:=.*)?|-[A-Za-z]", re.DOTALL)


def log_path() -> Path:
    """Where the log is."""
    return state_dir() / "laguna.log"


class LogFile(logging.Handler):
    """Appends each record with one write, so that several processes can share the file.

    The file is opened for each record: another process may have renamed it. What cannot be
    written is dropped: logging never stops or slows the work.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        formatter = logging.Formatter(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            text = self.format(record).translate(_CONTROL).replace("\n", "\n    ")
            line = (text + "\n").encode("utf-8", "backslashreplace")
            file = self._open()
            try:
                if os.fstat(file).st_size + len(line) > MAX_BYTES:
                    self._rotate(file)
                    os.close(file)
                    file = self._open()
                os.write(file, line)
            finally:
                os.close(file)
        except (OSError, ValueError, TypeError):
            pass

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            make_private(self.path.parent)
            return os.open(self.path, flags, 0o600)

    def _rotate(self, file: int) -> None:
        """Rename the file, unless another process has done it since it was opened."""
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        if os.fstat(file).st_ino == self.path.stat().st_ino:
            os.replace(self.path, self.path.with_name(f"{self.path.name}.1"))


def start(arguments: Sequence[str], *, command: str = "", verbose: bool = False) -> None:
    """Log this process to the file from here on, and record its start.

    `command` is the subcommand, if any. Raises UsageError when `LAGUNA_LOG` is not a level.
    """
    wanted = os.environ.get("LAGUNA_LOG") or "info"
    if wanted not in LEVELS:
        raise UsageError(
            f"LAGUNA_LOG={wanted} is not a log level", hint=f"Use one of: {', '.join(LEVELS)}."
        )
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    logger.addHandler(LogFile(log_path()))
    logger.setLevel(logging.DEBUG if verbose else LEVELS[wanted])
    if logger.isEnabledFor(logging.INFO):
        from laguna_agent import __version__

        system = os.uname()
        logger.info(
            "laguna %s started: %s, Python %s, %s %s %s, flags: %s",
            __version__,
            command or "no subcommand",
            sys.version.split()[0],
            system.sysname,
            system.release,
            system.machine,
            " ".join(_flags(arguments)) or "none",
        )


def _flags(arguments: Sequence[str]) -> Iterator[str]:
    """The names of the flags that were given, without their values."""
    for argument in arguments:
        if argument == "--":
            return
        if match := _FLAG.fullmatch(argument):
            yield match[1] or match[0]


def log_error(what: str, error: BaseException) -> None:
    """Record an error with where it was raised; with its text at debug only."""
    if logger.isEnabledFor(logging.DEBUG):
        logger.error("%s", what, exc_info=error)
    else:
        logger.error("%s: %s", what, "\n".join(_outline(error)))


def unexpected(error: BaseException) -> str:
    """Record an error that is a bug of laguna; returns a message that names the log."""
    log_error("unexpected error", error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{clip(str(error.filename), 200)}: " if error.filename else ""
        return f"{where}{error.strerror} (details: {log_path()})"
    text = " ".join(str(error).split())[:300]
    return f"unexpected {type(error).__name__}: {text} (details: {log_path()})"


def _outline(error: BaseException | None) -> Iterator[str]:
    """Types of an error and its causes and where each was raised; no text of any of them."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        code = error.errno if isinstance(error, OSError) else None
        yield type(error).__name__ + (f" [{errno.errorcode.get(code, code)}]" if code else "")
        trace = error.__traceback__
        while trace is not None:
            frame = trace.tb_frame.f_code
            yield f"  {_module(frame.co_filename)}:{trace.tb_lineno} {frame.co_name}"
            trace = trace.tb_next
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _module(path: str) -> str:
    """A source file without the directories that lead to the package."""
    parts = Path(path).parts
    start = parts.index("laguna_agent") if "laguna_agent" in parts else len(parts) - 2
    return "/".join(parts[max(start, 0) :])


def log_decision(tool: str, decision: Decision) -> None:
    """Record what the policy decided about an action, and by what kind of rule."""
    kind = decision.rule.partition(' "')[0]  # a user's rule quotes a path or a command
    logger.info("%s: %s by %s", tool, decision.verdict, kind)


def log_event(event: Event) -> None:
    """Record an event of a session, if it says how the work went."""
    if not event.transient:
        for level, text in _lines(event):
            logger.log(level, "%s", text)


def _lines(event: Event) -> Iterator[tuple[int, str]]:
    """Levels and texts of an event's records; texts from outside laguna at debug only."""
    from laguna_agent import events as e

    debug, info, warning = logging.DEBUG, logging.INFO, logging.WARNING
    match event:
        case e.SessionStarted(session=session, model=model, pack=pack, mode=mode):
            about = f"model {model.get('name')}, pack {pack.get('name')}, mode {mode}"
            yield info, f"session {session} started: {about}"
        case e.SystemPrompt(tokens=tokens, tools=tools):
            yield info, f"static prefix: {tokens} tokens, {len(tools)} tools"
        case e.UserMessage(origin=origin, text=text, context=context):
            yield debug, f"message ({origin}): {len(text)} characters, {len(context)} of context"
        case e.SystemNote(reason=reason):
            yield info, f"system note: {reason}"
        case e.TurnStarted(turn=turn):
            yield info, f"turn {turn} started"
        case e.SettingsChanged():
            yield info, "settings changed"
        case e.StepStarted(step=step):
            yield debug, f"step {step} started"
        case e.Reply(usage=used, timings=timings):
            prompt = f"{used.reused_tokens} tokens reused, {used.prefilled_tokens} processed"
            reply = f"{used.completion_tokens} generated in {timings.decode_s:.1f} s"
            end = f"{event.finish_reason}{', discarded' * event.discarded}"
            yield info, f"reply: {prompt} in {timings.prefill_s:.1f} s, {reply}, {end}"
        case e.ToolFinished(ok=ok, duration_s=duration, exit_code=code):
            end = "" if code is None else f", exit code {code}"
            tool = f"tool {_tool_name(event.name)}"
            yield info, f"{tool}: {'ok' if ok else 'failed'}, {duration:.1f} s{end}"
            changed = len(event.files_changed)
            yield debug, f"{tool}: {len(event.content)} characters, {changed} files changed"
        case e.ApprovalRequested(tool=tool):
            yield info, f"{tool}: approval requested"
        case e.ApprovalGiven(answer=answer, scope=scope):
            yield info, f"approval given: {answer}{f' ({scope})' if scope else ''}"
        case e.PermissionsChanged(rules=rules):
            yield info, f"rules for this session: {len(rules)}"
        case e.CheckRan(exit_code=code, duration_s=duration):
            yield info, f"check: exit code {code}, {duration:.1f} s"
        case e.PlanUpdated(steps=plan):
            yield debug, f"plan: {len(plan)} steps"
        case e.Checkpointed(id=checkpoint):
            yield info, f"checkpoint {checkpoint}"
        case e.Compacted(tokens_before=before, tokens_after=after):
            yield info, f"compacted: {before} tokens to {after}"
        case e.Rewound(to_seq=seq, code=files):
            yield info, f"rewound to event {seq}{', with files' * files}"
        case e.EngineRestarted(attempt=attempt, reason=reason, server=server):
            what = "server asked again" if server else "engine restarted"
            yield warning, f"{what}, attempt {attempt}"
            yield debug, f"reason: {reason}"
        case e.Notice(level=severity, text=text):
            if severity != "info":
                yield warning, f"notice: {severity}"
            yield debug, f"notice: {text}"
        case e.TurnFinished(status=status, steps=steps, duration_s=duration):
            changes = f"{len(event.files_changed)} files changed"
            yield info, f"turn finished: {status}, {steps} steps, {duration:.1f} s, {changes}"
            if event.error:
                yield debug, f"turn finished with: {event.error}"
        case _:
            pass


def _tool_name(name: str) -> str:
    """The name, unless the model made it up out of something else."""
    return name if name.isidentifier() and len(name) < 40 else "(unknown)"
