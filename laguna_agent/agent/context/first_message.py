"""The first message of a conversation: the task, with the context that the model needs for it.

Everything dynamic (date, directory, git state, instructions, memories, files, the check's output)
goes here and never into the static prefix. A small model reads too little on its own, so files
that the task names, and those of a small repository, are shown at once, within a token budget.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from laguna_agent.actions import ReadPath
from laguna_agent.agent.check.detection import is_test_file
from laguna_agent.agent.check.failures import first_failure
from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.context.excerpts import Excerpt, excerpts, mentions
from laguna_agent.agent.context.task_kind import task_kind
from laguna_agent.agent.services import Services
from laguna_agent.agent.state import SessionState
from laguna_agent.agent.turn_files import TurnFiles
from laguna_agent.clip import clip_middle
from laguna_agent.events import UserMessage
from laguna_agent.paths import holds_home
from laguna_agent.plurals import counted
from laguna_agent.tools.files.encoding import printable_name
from laguna_agent.tools.files.walk import FileEntry, walk
from laguna_agent.tools.read import mark_read
from laguna_agent.tools.repository.git_command import GitError, git_output
from laguna_agent.tools.tool import ToolContext

MAX_FILE_BYTES = 1 << 18
DATA, _DATA_CHARACTERS = (".csv", ".jsonl", ".log", ".ndjson", ".tsv", ".txt"), 2_500
_SEARCHED = 100
"""Files up to which those that nobody names are searched for what the task names."""
SMALL_REPOSITORY_FILES = 12
TREE_LINES = 60
_CHANGES = 20
_PATHLIKE = re.compile(r"(?<![\w.@+-])[\w.@+-]*(?:[/.][\w@+-]+)+")
_LANGUAGES = {
    ".py": "python", ".js": "javascript", ".ts": "typescript", ".go": "go", ".rs": "rust",
    ".c": "c", ".h": "c", ".cpp": "cpp", ".java": "java", ".rb": "ruby", ".sh": "bash",
    ".json": "json", ".toml": "toml", ".yaml": "yaml", ".html": "html", ".css": "css",
}  # fmt: skip
_MADE = {*_LANGUAGES, ".csv", ".md", ".txt"}
"""Suffixes of files that a task may ask for."""
_NOISE = {
    "LICENSE",
    "LICENSE.md",
    "AGENTS.md",
    "CLAUDE.md",
    "package-lock.json",
    "poetry.lock",
    "uv.lock",
    "Cargo.lock",
}


@dataclass
class ShownFile:
    """A file whose text is in the first message. `path` is relative to the workspace."""

    path: str
    text: str

    @property
    def plain(self) -> str:
        """The text as tools compare it: without a byte order mark and with plain line ends."""
        return self.text.removeprefix("\ufeff").replace("\r\n", "\n")


@dataclass
class ShownContext:
    """The files and the file tree that the first message shows."""

    files: list[ShownFile] = field(default_factory=list)
    parts: list[Excerpt] = field(default_factory=list)
    """Of files that are too long."""
    named: list[str] = field(default_factory=list)
    """Files that the task names."""
    to_be_made: list[str] = field(default_factory=list)
    """Files that the task names and that are not there."""
    mentions: list[str] = field(default_factory=list)
    """For a question: lines of code that have what it names."""
    tree: str = ""
    paths: list[str] = field(default_factory=list)
    """Paths of the files where a person works, relative to there, up to a limit."""


def choose_context(
    task: str,
    context: ToolContext,
    *,
    characters: int,
    output: str = "",
    everything: bool,
    tracked_only: bool = False,
    may_read: Callable[[str], bool] = lambda path: True,
) -> ShownContext:
    """Choose what to show: files that the task or the check's `output` names, then, with
    `everything`, all of a small repository, smallest first, up to `characters`.

    `may_read` says whether an absolute path may be read without asking; other files are only
    listed. With `tracked_only`, files that git does not track are neither shown nor listed."""
    start, workspace = context.start, context.workspace
    if holds_home(workspace):
        return ShownContext()
    below = start.relative_to(workspace).as_posix()
    entries: Iterable[FileEntry] = walk(workspace, below, limit=5000)
    if tracked_only:
        tracked = tracked_files(workspace)
        entries = [entry for entry in entries if entry.relative in tracked]
    sizes = {context.shown(entry.relative): entry.size for entry in entries}
    paths = list(sizes)
    named = _named(task, paths)
    also = [path for path in _named(output, paths) if path not in named]
    small = [p for p in paths if Path(p).name not in _NOISE and not p.startswith(".")]
    rest: list[str] = []
    if everything and len(small) <= SMALL_REPOSITORY_FILES:
        rest = sorted((p for p in small if p not in named and p not in also), key=sizes.__getitem__)
    files: list[ShownFile] = []
    left = characters

    @cache
    def read(path: str) -> str | None:
        """The text of a file that may be shown."""
        shown = printable_name(path) == path and may_read(str(start / path))
        return text_of(start / path) if shown else None

    for path in (*named, *also, *rest):
        text = read(path)
        if text is None or len(text) > left or _is_data(path, text):
            continue
        left -= len(text)
        files.append(ShownFile(path, text))
    if task_kind(task, check_fails=bool(output)) == "fix":
        # The code to fix first, then its tests; what fails in them follows in the message.
        files.sort(key=lambda shown: is_test_file(shown.path))
    else:  # what the task names is nearest to it
        files.sort(key=lambda shown: shown.path in named)
    whole = {file.path for file in files}
    too_long = [path for path in (*named, *also) if path not in whole]
    others = [path for path in paths if path not in whole and path not in too_long]
    parts = excerpts(
        task,
        output,
        named=too_long,
        others=others if len(others) <= _SEARCHED else [],
        read=read,
        characters=left,
    )
    question = everything and len(paths) <= _SEARCHED and task_kind(task) == "answer"
    found = mentions(task, paths, read) if question else []
    made = to_be_made(task, paths)
    return ShownContext(files, parts, named, made, found, _tree(paths), paths)


def mark_part(context: ToolContext, part: Excerpt) -> None:
    """Record that the model has seen a part of a file, if it is there as it was shown."""
    lines = (text_of(context.start / part.path) or "").split("\n")
    if part.last and "\n".join(lines[part.first - 1 : part.last]) == part.text:
        mark_read(context, part.path, range(part.first, part.last + 1))


def _is_data(path: str, text: str) -> bool:
    """Whether a file is data to be counted or searched, and its first lines are enough."""
    return len(text) > _DATA_CHARACTERS and Path(path).suffix.lower() in DATA


def _named(text: str, paths: Sequence[str]) -> list[str]:
    """Paths that the text names, in full or by file name where that is unique."""
    known = set(paths)
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(Path(path).name, []).append(path)
    found: list[str] = []
    for word in _PATHLIKE.findall(text):
        candidate = word.strip("./") if word not in known else word
        if candidate not in known:
            same = by_name.get(Path(candidate).name, [])
            if len(same) != 1:
                continue
            candidate = same[0]
        if candidate not in found:
            found.append(candidate)
    return found


def to_be_made(task: str, paths: Sequence[str]) -> list[str]:
    """Paths that a task names and that are not there: files that it may ask for."""
    names = {Path(path).name for path in paths}
    words = [word.removeprefix("./") for word in _PATHLIKE.findall(task)]
    return [
        word
        for word in dict.fromkeys(words)
        if word not in paths
        and Path(word).name not in names
        and Path(word).suffix in _MADE
        and not word.startswith(("/", "../"))
        and not re.fullmatch(r"[A-Z]\w*\.js", word)  # Node.js, Three.js
    ]


def text_of(path: Path) -> str | None:
    """The text of a file; None when it is none, or too large to be shown."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            return None
        data = path.read_bytes()
        return None if b"\0" in data else data.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _tree(paths: Sequence[str]) -> str:
    lines = list(map(printable_name, paths[:TREE_LINES]))
    if len(paths) > TREE_LINES:
        lines.append(f"... {len(paths) - TREE_LINES} more")
    return "\n".join(lines)


def tracked_files(workspace: Path) -> set[str]:
    """Paths of the files that git tracks; empty outside a repository."""
    try:
        listing = git_output(workspace, "ls-files", "-z")
    except GitError:
        return set()
    return {os.fsdecode(path) for path in listing.split(b"\0")}


def git_state(workspace: Path) -> str:
    """Branch and the number of changed files, in a few words; empty outside a repository.

    Runs nothing that the repository configures.
    """
    try:
        out = git_output(
            workspace, "status", "--porcelain=v1", "--branch", "--untracked-files=normal",
            "--ignore-submodules=all", timeout=5,
        )  # fmt: skip
    except GitError:
        return ""
    lines = out.decode("utf-8", "replace").splitlines()
    if not lines:
        return ""
    branch = lines[0].removeprefix("## ").removeprefix("No commits yet on ").split("...")[0]
    changed = len(lines) - 1
    return f"branch {branch}, " + (counted(changed, "changed file") if changed else "clean")


async def with_context(
    services: Services,
    state: SessionState,
    message: UserMessage,
    check: CheckRunner,
    files: TurnFiles,
) -> tuple[UserMessage, ShownContext]:
    """The user's message with the context that the model needs, and the files it shows.

    The first message of a conversation carries everything; later ones only what is new since.
    """
    ran = check.last if check.last is not None and check.last.exit_code else None
    output = (
        clip_middle(first_failure(ran.output), services.pack.limits.result_chars // 2)
        if ran
        else ""
    )
    if services.recorder.state.user_messages:
        command = check.command or "" if output else ""
        context = services.tool_context
        changes = await files.changed_between_turns()
        if changes and services.conversation.info.remote:
            tracked = await asyncio.to_thread(tracked_files, context.workspace)
            changes = [path for path in changes if path in tracked]
        changes = [context.shown(path) for path in changes]
        return _later_message(services, state, message, changes, command, output), ShownContext()
    return await _first_message(services, state, message, check.command or "", output)


def _later_message(
    services: Services,
    state: SessionState,
    message: UserMessage,
    changes: Sequence[str],
    check: str,
    output: str,
) -> UserMessage:
    variables = state.first_message_variables
    now, cwd = today(), directory_text(services.tool_context)
    more = f"\nand {len(changes) - _CHANGES} more" if len(changes) > _CHANGES else ""
    context = services.pack.text(
        "turn.md",
        date=now if now != variables.get("date") else "",
        cwd=cwd if cwd != variables.get("cwd") else "",
        new_shell=state.new_shell,
        changes="\n".join(map(printable_name, changes[:_CHANGES])) + more,
        check=check,
        check_output=output,
    )
    variables["date"], variables["cwd"], state.new_shell = now, cwd, False
    return _attach(message, context)


async def _first_message(
    services: Services, state: SessionState, message: UserMessage, check: str, output: str
) -> tuple[UserMessage, ShownContext]:
    budget = services.pack.limits.first_message_tokens
    shown = await asyncio.to_thread(
        choose_context,
        message.text,
        services.tool_context,
        characters=budget * 3,
        output=output,
        everything=budget > 0,
        tracked_only=services.conversation.info.remote,
        may_read=lambda path: (
            services.gate.decide(ReadPath(path=path), tool="read").verdict == "allow"
        ),
    )
    for file in shown.files:
        mark_read(services.tool_context, file.path)
    for part in shown.parts:
        mark_part(services.tool_context, part)
    context = services.pack.text(
        "first.md",
        **state.first_message_variables,
        tree=shown.tree,
        files=[{"path": f.path, "text": fenced(f.text, f.path)} for f in shown.files],
        parts=[
            {"path": p.path, "first": p.first, "last": p.last, "text": fenced(p.text, p.path)}
            for p in shown.parts
        ],
        check=check,
        check_output=output,
    )
    return _attach(message, context), shown


def directory_text(context: ToolContext) -> str:
    """The directory in which a person works, and the repository that it is in."""
    if context.directory is None:
        return str(context.workspace)
    return f"{context.directory}, in the repository {context.workspace}"


def today() -> str:
    """The date where the user is."""
    return local_date(datetime.datetime.now(datetime.UTC).isoformat())


def local_date(when: str) -> str:
    """The date where the user is at an ISO 8601 time."""
    return datetime.datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d")


def _attach(message: UserMessage, context: str) -> UserMessage:
    """The message with `context` before the context it has already (a skill that it calls)."""
    parts = [context.strip(), message.context]
    return message.model_copy(update={"context": "\n\n".join(part for part in parts if part)})


def fenced(text: str, path: str) -> str:
    """Text in a fence that its own lines do not close."""
    longest = max((len(run) for run in re.findall(r"^`{3,}", text, re.MULTILINE)), default=2)
    fence = "`" * (longest + 1)
    language = _LANGUAGES.get(Path(path).suffix, "")
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"
