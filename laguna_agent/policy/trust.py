"""Trust in a repository's settings and instructions, which laguna reads only once trusted.

Trust covers `.laguna/`, `.mcp.json`, the files of the repository that hooks, tools and MCP servers
declared there run, and instruction files (`AGENTS.md`, `CLAUDE.md`) in every folder that is not
generated. It applies to a hash of that content and is stored in laguna's own state, so a change
asks again. A symbolic link in `.laguna/` cannot be trusted; an instruction file may be a link that
stays in the repository and leads to no secret.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shlex
import stat
import tomllib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laguna_agent.atomic_write import atomic_write
from laguna_agent.errors import UsageError
from laguna_agent.front_matter import split_front_matter
from laguna_agent.mcp_json import MCP_JSON
from laguna_agent.paths import state_dir
from laguna_agent.policy import sensitive_paths

SETTINGS = ".laguna"
INSTRUCTIONS = ("AGENTS.md", "CLAUDE.md")
_GENERATED = {"node_modules", "__pycache__", "venv", "target", "site-packages"}
_PUNCTUATION = "();<>|&"
_KEYWORDS = {"if", "then", "else", "elif", "do", "while", "until", "!", "{"}
_RUNS_ANOTHER = re.compile(
    r"(ba|da|k|z)?sh|python[\d.]*|node|deno|bun|ruby|perl|php|lua|\.|source|exec|command|builtin|env|"
    r"sudo|doas|nohup|nice|ionice|setsid|stdbuf|time|timeout|xargs"
)
_MOST_FOLDERS = 5_000
"""Folders that are searched for instruction files, those nearest to the root first."""
_MOST_FILES = 2_000
_MOST_PLACES = 8
"""Directories in which a file that a command names is looked for."""
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Content:
    """What trust covers: relative names in order, and one digest of all contents."""

    root: Path
    files: tuple[str, ...]
    digest: str
    digests: Mapping[str, bytes]
    """SHA-256 of each file."""
    commands: tuple[tuple[str, str], ...] = ()
    """The commands that the settings declare, each with its file."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to trust."""
        return not self.files

    def covers(self, path: Path) -> bool:
        """Whether a file is covered and unchanged."""
        known = self.digests.get(os.path.relpath(path, self.root))
        if known is None:
            return False
        try:
            data, _ = read_plain(_target(self.root, path) or path)
        except UsageError:
            return False
        return hashlib.sha256(data).digest() == known


def content(root: Path) -> Content:
    """Read what trust covers in `root`. Raises UsageError for files that cannot be trusted."""
    root = Path(sensitive_paths.real(root))
    digest = hashlib.sha256(b"laguna trust 1\0")
    digests: dict[str, bytes] = {}
    commands: list[tuple[str, str]] = []
    size = 0
    for path in _covered(root):
        name = os.path.relpath(path, root)
        if len(digests) >= _MOST_FILES:
            raise UsageError(f"{root / SETTINGS} holds more than {_MOST_FILES} files")
        linked = path.name in INSTRUCTIONS and path.is_symlink()
        data, mode = read_plain((_target(root, path) if linked else None) or path)
        size += len(data)
        if size > _MOST_BYTES:
            raise UsageError(f"{root / SETTINGS} holds more than {_MOST_BYTES >> 20} MiB")
        digests[name] = hashlib.sha256(data).digest()
        if name.startswith(f"{SETTINGS}/") or name == MCP_JSON:
            commands += [(name, command) for command in _commands_of(data, path.suffix)]
        executable = b"x" if mode & 0o111 else b"-"
        for part in (os.fsencode(name), executable, digests[name]):
            digest.update(len(part).to_bytes(8, "big") + part)
    return Content(root, tuple(digests), digest.hexdigest(), digests, tuple(commands))


def is_trusted(root: Path) -> bool:
    """Whether the current content of `root` is trusted. False if there is nothing to trust."""
    try:
        found = content(root)
    except UsageError:
        return False
    return not found.empty and _load().get(os.fspath(found.root)) == found.digest


def was_trusted(root: Path) -> bool:
    """Whether an earlier content of `root` was trusted, so that this is about a change."""
    return sensitive_paths.real(root) in _load()


def trust(root: Path, digest: str | None = None) -> Content:
    """Trust the content of `root` from now on.

    `digest` is the one the user was shown. Raises UsageError if the content has changed since.
    """
    found = content(root)
    if digest is not None and digest != found.digest:
        raise UsageError(
            f"{found.root / SETTINGS} changed since it was shown",
            hint="Run `laguna trust` again.",
        )
    known = _load()
    known[os.fspath(found.root)] = found.digest
    _store(known)
    return found


def forget(root: Path) -> bool:
    """Revoke trust. Returns whether there was any."""
    known = _load()
    there = known.pop(sensitive_paths.real(root), None) is not None
    if there:
        _store(known)
    return there


def _covered(root: Path) -> Iterator[Path]:
    """Every covered file, in a stable order."""
    yield from _instructions(root)
    shared = [root / MCP_JSON] if os.path.lexists(root / MCP_JSON) else []
    yield from shared
    settings = root / SETTINGS
    if not os.path.lexists(settings):
        yield from sorted(_programs(root, shared))
        return
    if settings.is_symlink() or not settings.is_dir():
        raise UsageError(
            f"{settings} is not a plain directory", hint="Replace the link by a plain directory."
        )
    inside = sorted(_files_below(settings))
    yield from inside
    yield from sorted(_programs(root, [*shared, *inside]))


def _instructions(root: Path) -> Iterator[Path]:
    """Instruction files by folder, those of the root first; links out of `root` are left out."""
    folders = deque([root])
    seen = 0
    while folders and seen < _MOST_FOLDERS:
        folder = folders.popleft()
        seen += 1
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and entry.name not in _GENERATED:
                    folders.append(Path(entry.path))
            elif entry.name in INSTRUCTIONS and _target(root, Path(entry.path)) is not None:
                yield Path(entry.path)


def _target(root: Path, path: Path) -> Path | None:
    """The plain file in `root` that an instruction file resolves to, or None. Secrets, and what is
    in `.git`, are no instructions."""
    real = Path(sensitive_paths.real(path))
    if not sensitive_paths.is_under(real, root) or not real.is_file():
        return None
    name = os.path.relpath(real, root)
    return None if sensitive_paths.is_secret_file(name) or name.startswith(".git/") else real


def _files_below(folder: Path) -> Iterator[Path]:
    folders = [folder]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            else:
                yield Path(entry.path)


def read_plain(path: Path) -> tuple[bytes, int]:
    """Content and mode of a plain file, opened without following a link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = "a symbolic link" if path.is_symlink() else (error.strerror or "unreadable")
        raise UsageError(
            f"{path} cannot be trusted: {why}", hint="Replace it by a plain file."
        ) from error
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise UsageError(f"{path} cannot be trusted: it is not a plain file")
        if info.st_size > _MOST_BYTES:
            raise UsageError(f"{path} is larger than {_MOST_BYTES >> 20} MiB")
        return file.read(_MOST_BYTES + 1), info.st_mode


def _programs(root: Path, settings: list[Path]) -> set[Path]:
    """Files of the repository that are named by commands in its settings."""
    found: set[Path] = set()
    for path in settings:
        for command in _commands_of(read_plain(path)[0], path.suffix):
            found |= {root / name for name in named_files(command, root)}
    covered = {root / MCP_JSON, *(root / name for name in INSTRUCTIONS)}
    return {p for p in found - covered if not sensitive_paths.is_under(p, root / SETTINGS)}


def named_files(command: str, root: Path) -> set[str]:
    """Names, relative to `root`, of the files of a repository that a command names."""
    found: set[str] = set()
    words = _words(command)
    places = [root]
    for before, word in itertools.pairwise(words):
        if before == "cd" and len(places) < _MOST_PLACES:
            places.append(places[-1] / word)
    for word in dict.fromkeys(words):
        if any(character.isspace() for character in word):  # bash -c 'scripts/x.sh -v'
            found |= named_files(word, root) if word != command else set()
        for part in (word, word.rpartition("=")[2]):
            found.update(name for place in places if (name := _name_below(part, root, place)))
    return found


def server_command(command: str, arguments: Sequence[str], cwd: str | None) -> str:
    """The command line of an MCP server that starts in `cwd`, relative to the repository."""
    line = shlex.join([command, *arguments])
    return f"cd {shlex.quote(cwd)} && {line}" if cwd and cwd != "." else line


def run_files(command: str, root: Path) -> set[str]:
    """Those of the named files that the command runs: as programs, or by an interpreter."""
    found: set[str] = set()
    waiting, interpreted, redirected = True, False, False
    for word in _words(command):
        if redirected:
            redirected = False
        elif not word.strip(_PUNCTUATION) and {"<", ">"} & set(word):
            redirected = True
        elif not word.strip(_PUNCTUATION) or word in _KEYWORDS:
            waiting, interpreted = True, False
        elif waiting and any(character.isspace() for character in word):
            found |= run_files(word, root) if word != command else set()
        elif waiting and (name := _name_below(word, root)):
            found.add(name)
            waiting = False
        elif waiting and _RUNS_ANOTHER.fullmatch(word.rpartition("/")[2]):
            interpreted = True
        elif interpreted and os.path.isabs(word) and _is_file(Path(word)):
            waiting = interpreted = False
        elif waiting and not (interpreted or word.startswith("-") or "=" in word):
            waiting = False
    return found


def _name_below(word: str, root: Path, place: Path | None = None) -> str | None:
    """The name of the file that a word names, read at a place, if there is one below `root`."""
    target = Path(os.path.normpath((place or root) / re.sub(r"^\$(PWD|\{PWD\})/", "", word)))
    below = sensitive_paths.is_under(target, root) and _is_file(target)
    return os.path.relpath(target, root) if below else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a word too long for a name, or with a NUL
        return False


def _commands_of(data: bytes, suffix: str) -> Iterator[str]:
    """The commands that a file of settings declares; it is read as what loads it reads it."""
    text = data.decode("utf-8-sig", "replace")
    if suffix == ".md":
        text = split_front_matter(text).toml
    elif suffix not in (".toml", ".json"):
        return
    # also JSONDecodeError and TOMLDecodeError
    with contextlib.suppress(ValueError, RecursionError):
        yield from _strings(json.loads(text) if suffix == ".json" else tomllib.loads(text), key="")


def _strings(node: Any, key: str) -> Iterator[str]:
    if isinstance(node, dict):
        command, arguments, cwd = node.get("command"), node.get("args"), node.get("cwd")
        arguments = [] if arguments is None and isinstance(cwd, str) else arguments
        if isinstance(command, str) and isinstance(arguments, list):  # an MCP server
            cwd = cwd if isinstance(cwd, str) else None
            yield server_command(command, [*map(str, arguments)], cwd)
            node = {**node, "command": None}
        for name, value in node.items():
            yield from _strings(value, name)
    elif isinstance(node, list):
        if key in ("command", "run", "argv") and all(isinstance(item, str) for item in node):
            yield shlex.join(node)
        else:
            for value in node:
                yield from _strings(value, key)
    elif isinstance(node, str) and key in ("command", "run", "check"):
        yield node


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(command.replace("\n", " ; "), posix=True, punctuation_chars=_PUNCTUATION)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return re.split(r"[\s();<>|&'\"]+", command)


def _file() -> Path:
    return state_dir() / "trust.json"


def _load() -> dict[str, str]:
    try:
        data = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    trusted = data.get("trusted") if isinstance(data, dict) else None
    if not isinstance(trusted, dict):
        return {}
    return {k: v for k, v in trusted.items() if isinstance(v, str)}


def _store(known: dict[str, str]) -> None:
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(path, json.dumps({"schema": "laguna.trust/1", "trusted": known}, indent=1))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
