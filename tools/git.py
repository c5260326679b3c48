"""The git tool: shows changes and history, and commits, with output shaped for a model.

Over 400 lines because what an action may touch and what it then does must not drift apart.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import Field

from laguna_agent.actions import Action, GitWrite, ReadPath
from laguna_agent.git_places import git_places
from laguna_agent.tools.output import bound
from laguna_agent.tools.repository.git_command import GitError
from laguna_agent.tools.repository.git_commit import commit, secret_paths, stage
from laguna_agent.tools.repository.git_repository import GitRepository
from laguna_agent.tools.repository.git_status import render_status, staged_paths
from laguna_agent.tools.terminal.ansi import clean_text
from laguna_agent.tools.tool import ToolArguments, ToolContext, ToolKind, ToolResult

_WRITES = {"add", "commit"}
_STASH_READS = {"list", "show"}
_STASH_WORDS = {"push", "pop", "apply", "drop", *_STASH_READS}
_FLAGS = {
    "diff": {"--staged", "--cached", "--stat", "--name-only", "HEAD"},
    "log": {"--stat", "--oneline", "--all", "-p", "--reverse"},
    "show": {"--stat", "--name-only"},
    "add": {"-A", "--all", "-u"},
    "commit": {"-a", "--all", "--amend"},
    "stash": {"-u", "--include-untracked", "-p"},
}
_COUNT = re.compile(r"-(?:n|n=|-max-count=)?(\d{1,4})$")
_STASH_NAME = re.compile(r"stash@\{\d{1,4}\}$|\d{1,4}$")
_LINES = re.compile(r"(.+):(\d+)(?:-(\d+))?$")
_LOG_FORMAT = "--format=%h %ad %an: %s%d"
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty")


class GitArguments(ToolArguments):
    """The action and its target: paths, revisions, or both."""

    action: Literal["status", "diff", "log", "show", "blame", "add", "commit", "stash"]
    target: str = Field("", description="paths or revision")
    message: str = ""


@dataclass
class _Target:
    revisions: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    count: int | None = None


class GitTool:
    """Runs git in the workspace's repository. Nothing that it configures is run."""

    name: ClassVar[str] = "git"
    kind: ClassVar[ToolKind] = "git"
    description: ClassVar[str] = "Look at or commit changes."
    arguments: ClassVar[type[ToolArguments]] = GitArguments
    example: ClassVar[dict[str, Any]] = {"action": "diff", "target": "NAME.py"}

    def title(self, arguments: GitArguments, context: ToolContext) -> str:
        """`git diff a.py`."""
        words = ["git", arguments.action, clean_text(arguments.target.replace("\n", " "))]
        return " ".join(word for word in words if word)

    def actions(self, arguments: GitArguments, context: ToolContext) -> list[Action]:
        """Changing the repository, or reading the files that are named; also reading the repository
        where it, or a part of it, is elsewhere."""
        places = git_places(os.path.join(context.workspace, ".git"))
        root = os.path.realpath(context.workspace)
        elsewhere = [ReadPath(path=path) for path in places if path != os.path.join(root, ".git")]
        return [*self._own_actions(arguments, context), *elsewhere]

    def _own_actions(self, arguments: GitArguments, context: ToolContext) -> list[Action]:
        words = _words(arguments.target, context)
        stash_reads = arguments.action == "stash" and words and words[0] in _STASH_READS
        if arguments.action in _WRITES or (arguments.action == "stash" and not stash_reads):
            detail = " ".join(p for p in (arguments.target, arguments.message) if p)
            return [GitWrite(operation=arguments.action, detail=detail)]
        named: dict[str, None] = {}
        for word in [] if stash_reads else words:
            before, _, held = word.rpartition(":")
            lines = _LINES.fullmatch(word)
            if os.path.lexists(context.workspace / word) or not before:
                named[word] = None
            else:  # what a revision holds may be gone from the working tree
                named[lines[1] if lines else held] = None
        paths = [os.path.realpath(context.workspace / name) for name in named if name[:1] != "-"]
        return [ReadPath(path=path) for path in paths]

    async def run(self, arguments: GitArguments, context: ToolContext) -> ToolResult:
        """Run the action; an error of git is the result."""
        return await asyncio.to_thread(self._run, arguments, context)

    def _run(self, arguments: GitArguments, context: ToolContext) -> ToolResult:
        try:
            text = _GitCall(_repository(context), arguments, context).run()
        except GitError as error:
            message = re.sub(r"^(fatal|error): ", "", clean_text(str(error)).strip())
            return ToolResult(ok=False, content=message, summary=message.split("\n")[0][:80])
        bounded = bound(context, clean_text(text).rstrip("\n"))
        lines = bounded.text.count("\n") + 1
        return ToolResult(
            ok=True,
            content=bounded.text,
            summary=f"{lines} lines" if lines > 1 else bounded.text[:80],
            truncated=bounded.truncated,
            output_file=str(bounded.file) if bounded.file else None,
        )


def _repository(context: ToolContext) -> GitRepository:
    sandbox = context.sandbox if context.sandbox and context.sandbox.name != "none" else None
    trusted = bool(context.state.get("git.trusted"))
    return GitRepository(context.workspace, sandbox=sandbox, trusted=trusted)


class _GitCall:
    """One call, with a method for each action that returns text for the model."""

    def __init__(
        self, repository: GitRepository, arguments: GitArguments, context: ToolContext
    ) -> None:
        self.git = repository
        self.context = context
        self.message = arguments.message.strip()
        self.action = arguments.action
        self.words = _words(arguments.target, context)

    def run(self) -> str:
        """Carry it out. Raises GitError."""
        match self.action:
            case "status":
                return render_status(self.git)
            case "diff":
                return self.diff()
            case "log":
                return self.log()
            case "show":
                return self.show()
            case "blame":
                return self.blame()
            case "add":
                return self.add()
            case "commit":
                return self.commit()
            case "stash":
                return self.stash()

    def diff(self) -> str:
        target = self._target()
        cached = ["--cached"] if target.flags & {"--staged", "--cached"} else []
        revisions = target.revisions
        if not revisions and not cached and self.git.has_commits():
            revisions = ["HEAD"]
        extra = sorted(target.flags & {"--stat", "--name-only"})
        paths = self._readable(["diff", "--name-only", *cached, *revisions], target.paths)
        text = ""
        if paths is not None:
            text = self.git.text("diff", *_PLAIN, "-M", *extra, *cached, *revisions, "--", *paths)
        if target.revisions or cached:
            return text or "no differences"
        new = self._untracked(target.paths)
        if new:
            more = f" and {len(new) - 20} more" if len(new) > 20 else ""
            text += f"[new, not known to git: {', '.join(new[:20])}{more}]"
        return text or "no changes"

    def log(self) -> str:
        target = self._target()
        if not self.git.has_commits():
            return "no commits yet"
        options = ["--date=short", "--no-show-signature", f"-n{target.count or 20}", *_PLAIN[:3]]
        paths: Sequence[str] | None = target.paths
        if target.flags & {"-p", "--stat"}:
            names = ["log", "--format=", "--name-only", *options, *target.revisions]
            paths = self._readable(names, target.paths)
            if paths is None:
                target.flags -= {"-p", "--stat"}
        options += sorted(target.flags - {"--oneline"})
        text = self.git.text("log", _LOG_FORMAT, *options, *target.revisions, "--", *(paths or []))
        return text or "no commits"

    def show(self) -> str:
        target = self._target()
        revisions = target.revisions or ["HEAD"]
        form = "--format=commit %H%nauthor %an%ndate %ad%n%n%B"
        options = [form, "--date=iso", "--no-show-signature", *_PLAIN]
        options += sorted(target.flags) or ["--stat", "--patch"]
        if any(":" in revision for revision in revisions):
            for revision in revisions:
                self._refuse_unreadable(revision.rpartition(":")[2])
            return self.git.text("show", *_PLAIN[:3], *revisions)
        for revision in revisions:
            if self.git.text("cat-file", "-t", revision).strip() == "blob":
                raise GitError(f"{revision} is the content of a file; name it as REVISION:PATH")
        names = ["show", "--format=", "--name-only", *revisions]
        paths = self._readable(names, target.paths)
        if paths is None:
            return self.git.text("show", "--no-patch", *options[:3], *revisions)
        return self.git.text("show", *options, *revisions, "--", *paths)

    def blame(self) -> str:
        lines: list[str] = []
        words = []
        for word in self.words:
            match = _LINES.fullmatch(word)
            if match and not (self.context.workspace / word).exists():
                lines = ["-L", f"{match[2]},{match[3] or match[2]}"]
                word = match[1]
            words.append(word)
        self.words = words
        target = self._target()
        if len(target.paths) != 1:
            raise GitError("blame takes one file, e.g. target: NAME.py or NAME.py:10-20")
        self._refuse_unreadable(target.paths[0])
        options = ["--date=short", "--abbrev=7", "--no-textconv", *lines]
        try:
            return self.git.text("blame", *options, *target.revisions, "--", *target.paths)
        except GitError as error:
            if "invalid object name" in str(error):
                # git quotes a line of the file, which may be any file of the machine.
                raise GitError(
                    "blame.ignoreRevsFile of this repository is not a list of commits"
                ) from None
            raise

    def add(self) -> str:
        target = self._target(paths_only=True)
        if not target.paths and not target.flags:
            raise GitError("add takes paths, or . for all")
        left_out = self._stage(target.paths, tracked_only="-u" in target.flags)
        staged = staged_paths(self.git)
        return (f"staged: {', '.join(staged)}" if staged else "nothing to stage") + left_out

    def commit(self) -> str:
        target = self._target(paths_only=True)
        if not self.message and "--amend" not in target.flags:
            raise GitError("commit takes a message")
        left_out = ""
        if target.paths:
            left_out = self._stage(target.paths, tracked_only=False)
        elif target.flags & {"-a", "--all"}:
            stage(self.git, [], tracked_only=True)
        if "--amend" not in target.flags and not staged_paths(self.git, target.paths):
            if target.paths:
                raise GitError(f"nothing changed in {', '.join(target.paths)}")
            raise GitError("nothing is staged; name the paths to commit in target, or . for all")
        options = ["--amend"] if "--amend" in target.flags else []
        options += ["-m", self.message] if self.message else ["--no-edit"]
        return commit(self.git, target.paths, options) + left_out

    def _stage(self, paths: Sequence[str], *, tracked_only: bool) -> str:
        """Stage changes; a line about what was left out."""
        may_read = self.context.may_read
        secret = stage(self.git, paths, tracked_only=tracked_only, may_read=may_read)
        return f"\n[left out, may hold secrets: {', '.join(secret)}]" if secret else ""

    def stash(self) -> str:
        words = self.words or ["push"]
        what = words[0]
        if what not in _STASH_WORDS:
            raise GitError(f"stash takes {', '.join(sorted(_STASH_WORDS))}")
        names = [word for word in words[1:] if _STASH_NAME.match(word)]
        flags = [word for word in words[1:] if word in _FLAGS["stash"]]
        if len(names) + len(flags) != len(words) - 1 or len(names) > 1:
            raise GitError(f"stash {what} takes at most a name like stash@{{0}}")
        if what == "push":
            message = ["-m", self.message] if self.message else []
            untracked = ["-u"] if {"-u", "--include-untracked"} & set(flags) else []
            if untracked and (secret := secret_paths(self.git, [], self.context.may_read)):
                raise GitError(
                    f"stash without -u: it would store {', '.join(secret)}, which may hold secrets"
                )
            return self._stash_push([*untracked, *message], untracked=bool(untracked))
        if what in ("pop", "apply"):
            # Without -q, git prints a status, which looks into submodules.
            self.git.text("stash", what, "-q", *names)
            return f"stash applied; {render_status(self.git)}"
        if what == "show":
            stash = names[0] if names else "stash@{0}"
            stash = f"stash@{{{stash}}}" if stash.isdecimal() else stash
            change = [f"{stash}^1", stash]
            paths = self._readable(["diff", "--name-only", *change], [])
            shown = paths if paths is not None else [":(exclude)*"]
            return self.git.text("diff", *_PLAIN, "-M", *change, "--", *shown) or "no stash"
        return self.git.text("stash", what, *names) or "no stash"

    def _stash_push(self, options: list[str], *, untracked: bool) -> str:
        submodule_paths = self.git.submodule_paths()
        if not submodule_paths:
            return self.git.text("stash", "push", *options)
        # Given paths, git does not look into submodules, which have configurations of their own.
        kinds = ["-m", "-d", *(["-o", "--exclude-standard"] if untracked else [])]
        listing = self.git.bytes("ls-files", "-z", *kinds) + self.git.bytes(
            "diff-index", "--cached", "--name-only", "-z", *_PLAIN[:2], "HEAD"
        )
        paths = {os.fsdecode(path) for path in listing.split(b"\0") if path} - submodule_paths
        paths = {path for path in paths if not path.endswith("/")}
        if not paths:
            return "no local changes to save"
        read = ["--pathspec-from-file=-", "--pathspec-file-nul"]
        return self.git.text("stash", "push", *options, *read, data=sorted(paths))

    # --- targets --------------------------------------------------------------------------------

    def _target(self, *, paths_only: bool = False) -> _Target:
        """Sort the words into flags, revisions and paths. Raises GitError for anything else."""
        target = _Target()
        flags = _FLAGS.get(self.action, set())
        words = iter(self.words)
        for word in words:
            if word in flags and word != "HEAD":
                target.flags.add(word)
            elif self.action in ("log", "show") and word in ("-n", "--max-count"):
                count = next(words, "")
                if not count.isdecimal():
                    raise GitError(f"{word} takes a number")
                target.count = int(count)
            elif self.action == "log" and (match := _COUNT.fullmatch(word)):
                target.count = int(match[1])
            elif word == "--":
                continue
            elif word.startswith("-"):
                known = f"; it knows {' '.join(sorted(flags))}" if flags else ""
                raise GitError(f"{self.action} does not take {word}{known}")
            elif self._is_path(word):
                target.paths.append(self._relative(word))
            elif not paths_only and self.git.is_revision(word):
                target.revisions.append(word)
            elif self._was_path(word):
                target.paths.append(self._relative(word))
            else:
                raise GitError(f"{word} is neither a path nor a revision")
        return target

    def _is_path(self, word: str) -> bool:
        return os.path.lexists(self.context.workspace / word)

    def _was_path(self, word: str) -> bool:
        path = self._relative(word)
        if self.git.bytes("ls-files", "-z", "--", path):
            return True
        if not self.git.has_commits():
            return False
        if self.action in ("log", "show", "diff"):
            return bool(self.git.bytes("log", "-n1", "--format=%h", "HEAD", "--", word))
        return self.git.is_committed(path)

    def _relative(self, word: str) -> str:
        workspace = self.context.workspace
        path = os.path.relpath(os.path.normpath(workspace / word), workspace)
        if path == ".." or path.startswith("../"):
            raise GitError(f"{word} is outside the workspace")
        return path

    def _untracked(self, paths: Sequence[str]) -> list[str]:
        out = self.git.bytes("ls-files", "-o", "--exclude-standard", "-z", "--", *paths)
        return [os.fsdecode(path) for path in out.split(b"\0") if path]

    # --- permissions ----------------------------------------------------------------------------

    def _may_read(self, path: str) -> bool:
        return self.context.may_read(str(self.context.workspace / path))

    def _may_name(self, path: str) -> bool:
        return self.context.may_name(str(self.context.workspace / path))

    def _refuse_unreadable(self, path: str) -> None:
        if not self._may_name(path):
            raise GitError(f"{path} may not be read")

    def _readable(self, names: Sequence[str], paths: Sequence[str]) -> Sequence[str] | None:
        """`paths`, or the files among them that may be read; None if there are none."""
        listing = self.git.bytes(names[0], "-z", *_PLAIN, *names[1:], "--", *paths)
        files = [os.fsdecode(name).lstrip("\n") for name in listing.split(b"\0") if name]
        allowed = [n for n in files if self._may_read(n) or (n in paths and self._may_name(n))]
        if len(allowed) == len(files):
            return paths
        return allowed or None


def _words(target: str, context: ToolContext) -> list[str]:
    """The words of a target; paths in them, which start where the model works, from the root."""
    text = target.strip()
    if not text:
        return []
    if os.path.lexists(context.start / text) and "\0" not in text:
        words = [text]
    else:
        try:
            words = shlex.split(text)
        except ValueError:
            words = text.split()
    if context.directory is None:
        return words
    return [
        os.path.relpath(context.start / word, context.workspace)
        if not word.startswith("-") and os.path.lexists(context.start / word)
        else word
        for word in words
    ]
