"""The first message of a conversation: what the model should know before it asks.

Everything dynamic (date, directory, git state, instructions, memories, files, the check's output)
stands here and never in the static prefix. A small model reads too little on its own, so files
that the task names, and those of a small repository, are shown at once, within a token budget.
"""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from laguna_agent.actions import ReadPath
from laguna_agent.agent.check.detection import is_test_file
from laguna_agent.agent.check.runner import CheckRunner
from laguna_agent.agent.state import Agent
from laguna_agent.clip import clip_middle
from laguna_agent.events import UserMessage
from laguna_agent.tools.files.walk import walk
from laguna_agent.tools.read import mark_read
from laguna_agent.tools.repository.git_command import GitError, git_output

MAX_FILE_BYTES = 64_000
SMALL_REPOSITORY_FILES = 12
TREE_LINES = 60
_CHANGES = 20
_PATHLIKE = re.compile(r"[\w.@+-]*(?:[/.][\w@+-]+)+")
_LANGUAGES = {
    ".py": "python", ".js": "javascript", ".ts": "typescript", ".go": "go", ".rs": "rust",
    ".c": "c", ".h": "c", ".cpp": "cpp", ".java": "java", ".rb": "ruby", ".sh": "bash",
    ".json": "json", ".toml": "toml", ".yaml": "yaml", ".html": "html", ".css": "css",
}  # fmt: skip
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
    """A file whose text stands in the first message. `path` is relative to the workspace."""

    path: str
    text: str


@dataclass
class ShownContext:
    """What is around a task."""

    files: list[ShownFile] = field(default_factory=list)
    tree: str = ""
    paths: list[str] = field(default_factory=list)
    """Relative paths of the repository's files, bounded."""


def look_around(
    task: str,
    workspace: Path,
    *,
    characters: int,
    output: str = "",
    everything: bool,
    may_read: Callable[[str], bool] = lambda path: True,
) -> ShownContext:
    """Choose what to show: files that the task or the check's `output` names, then, with
    `everything`, all of a small repository, smallest first, up to `characters`.

    `may_read` says whether an absolute path may be read unasked; other files are only listed."""
    sizes = {entry.relative: entry.size for entry in walk(workspace, limit=5000)}
    paths = list(sizes)
    named = _named(task, paths)
    also = [path for path in _named(output, paths) if path not in named]
    small = [p for p in paths if Path(p).name not in _NOISE and not p.startswith(".")]
    rest: list[str] = []
    if everything and len(small) <= SMALL_REPOSITORY_FILES:
        rest = sorted((p for p in small if p not in named and p not in also), key=sizes.__getitem__)
    files: list[ShownFile] = []
    left = characters
    for path in (*named, *also, *rest):
        if not may_read(str(workspace / path)):
            continue
        text = _text(workspace / path)
        if text is None or len(text) > left:
            continue
        left -= len(text)
        files.append(ShownFile(path, text))
    # The code to mend first, then its tests, then (elsewhere) what fails in them.
    files.sort(key=lambda shown: is_test_file(shown.path))
    return ShownContext(files, _tree(paths), paths)


def _named(text: str, paths: Sequence[str]) -> list[str]:
    """Paths that the text names, whole or by their last part when that is unique."""
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


def _text(path: Path) -> str | None:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            return None
        data = path.read_bytes()
        return None if b"\0" in data else data.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _tree(paths: Sequence[str]) -> str:
    lines = list(paths[:TREE_LINES])
    if len(paths) > TREE_LINES:
        lines.append(f"... {len(paths) - TREE_LINES} more")
    return "\n".join(lines)


def git_state(workspace: Path) -> str:
    """Branch and the number of changed files, in a few words; empty outside a repository.

    Nothing that the repository configures is run.
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
    return f"branch {branch}, " + (f"{changed} changed files" if changed else "clean")


async def open_conversation(
    agent: Agent, message: UserMessage, checking: CheckRunner
) -> tuple[UserMessage, ShownContext]:
    """The user's message with what should be known beside it, and what was shown.

    Everything stands in the first message; later ones carry only what is new since then.
    """
    pack, first = agent.pack, not agent.opened
    ran = checking.last if checking.last is not None and checking.last.exit_code else None
    output = clip_middle(ran.output, pack.limits.result_chars // 2) if ran else ""
    if not first:
        now, changes = today(), await checking.changed_meanwhile()
        more = f"\nand {len(changes) - _CHANGES} more" if len(changes) > _CHANGES else ""
        context = pack.text(
            "turn.md",
            date=now if now != agent.opening.get("date") else "",
            changes="\n".join(changes[:_CHANGES]) + more,
            check=checking.command if output else "",
            check_output=output,
        )
        agent.opening["date"] = now
        return _beside(message, context), ShownContext()
    around = await asyncio.to_thread(
        look_around,
        message.text,
        agent.context.workspace,
        characters=pack.limits.first_message_tokens * 3,
        output=output,
        everything=pack.limits.first_message_tokens > 0,
        may_read=lambda path: (
            agent.gate.decide(ReadPath(path=path), tool="read").verdict == "allow"
        ),
    )
    for shown in around.files:
        mark_read(agent.context, shown.path)
    context = pack.text(
        "first.md",
        **agent.opening,
        tree=around.tree,
        files=[{"path": f.path, "text": fenced(f.text, f.path)} for f in around.files],
        check=checking.command or "",
        check_output=output,
    )
    agent.opened = True
    return _beside(message, context), around


def today() -> str:
    """The date where the user is."""
    return datetime.datetime.now().astimezone().strftime("%Y-%m-%d")


def _beside(message: UserMessage, context: str) -> UserMessage:
    """The message with `context` before what stands beside it already (a skill that it calls)."""
    parts = [context.strip(), message.context]
    return message.model_copy(update={"context": "\n\n".join(part for part in parts if part)})


def fenced(text: str, path: str) -> str:
    """Text in a fence that its own lines do not close."""
    longest = max((len(run) for run in re.findall(r"^`{3,}", text, re.MULTILINE)), default=2)
    fence = "`" * (longest + 1)
    language = _LANGUAGES.get(Path(path).suffix, "")
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"
