"""Stages files and commits them, with the filters, hooks and signatures that a repository wants.

The user's own filters run. What the repository itself configures runs only in a trusted
repository, in the sandbox; elsewhere a file that needs such a filter is refused, and the result
says which hooks did not run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from laguna_agent.tools.repository.git_command import GitError
from laguna_agent.tools.repository.git_repository import GitRepository
from laguna_agent.tools.repository.git_status import staged_paths

_HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit")
_FROM_INPUT = ("--pathspec-from-file=-", "--pathspec-file-nul")


def stage(
    git: GitRepository,
    paths: Sequence[str],
    *,
    tracked_only: bool,
    may_read: Callable[[str], bool] = lambda path: True,
) -> list[str]:
    """Stage changes below the paths. git gets files, so it does not look into submodules.

    What git does not know yet is left out, and returned, unless `may_read` allows it: commands can
    read what git stores. Raises GitError, also for an ignored path and for a file whose filter does
    not run.
    """
    kinds = ["-m", "-d"] if tracked_only else ["-m", "-d", "-o"]
    listing = git.bytes("ls-files", "-z", *kinds, "--exclude-standard", "--", *paths)
    files = {os.fsdecode(path) for path in listing.split(b"\0") if path}
    nested = {path for path in files if path.endswith("/")}
    secret = secret_paths(git, paths, may_read) if not tracked_only else []
    wanted = sorted(files - git.submodule_paths() - nested - set(secret))
    if nested and not wanted:
        raise GitError(f"{', '.join(sorted(nested))} is a repository of its own")
    if not tracked_only and (ignored := _ignored(git, paths)):
        raise GitError(f"{', '.join(ignored)} is ignored by git")
    stored = [path for path in wanted if os.path.lexists(git.workspace / path)]
    if stored and _filtered_by_repository(git, stored):
        git.confined("add", "-A", *_FROM_INPUT, data=_literal(wanted))
    elif wanted:
        git.bytes("add", "-A", *_FROM_INPUT, data=wanted)
    return secret


def secret_paths(
    git: GitRepository, paths: Sequence[str], may_read: Callable[[str], bool]
) -> list[str]:
    """Files that git neither knows nor ignores and that `may_read` does not allow."""
    listing = git.bytes("ls-files", "-z", "-o", "--exclude-standard", "--", *paths)
    names = [os.fsdecode(name) for name in listing.split(b"\0") if name]
    return [name for name in names if not may_read(os.path.join(git.workspace, name))]


def commit(git: GitRepository, paths: Sequence[str], options: Sequence[str]) -> str:
    """Commit what is staged, or only what is staged below `paths`. Raises GitError."""
    # `--only` reads the files again, and so would add one that is removed from the index alone.
    others = bool(paths) and staged_paths(git) != staged_paths(git, paths)
    only = [*_FROM_INPUT, "--only"] if others and not _merging(git) else []
    staged = ["diff", "--cached", "--name-only", "--no-renames", "-z", "--diff-filter=d", "--"]
    names = git.bytes(*staged, *paths).split(b"\0") if only else []
    filtered = _filtered_by_repository(git, [os.fsdecode(name) for name in names if name])
    data = list(paths) if only else None
    options = ["--no-gpg-sign", "--no-status", "--cleanup=strip", *options, *only]
    hooks = _hooks(git)
    try:
        if (hooks and git.may_confine) or filtered:
            text = git.confined("commit", *options, data=_literal(data) if data else None)
        else:
            text = git.text("commit", "--no-verify", *options, data=data)
    except GitError as error:
        if "empty ident" in str(error) or "tell me who you are" in str(error):
            raise GitError(
                "git has no author for the commit; the user must set user.name and user.email"
            ) from None
        raise
    notes = []
    if hooks and not git.may_confine:
        notes.append(f"[hooks did not run: {', '.join(hooks)}; {git.why_not_confined}]")
    if git.setting("commit.gpgsign").lower() in ("true", "yes", "on", "1"):
        notes += _sign(git)
    return "\n".join([text.rstrip("\n"), *notes])


def _sign(git: GitRepository) -> list[str]:
    """Sign the last commit, in the sandbox; a note when that is not possible."""
    why = git.why_not_confined
    if git.may_confine:
        try:
            git.confined("commit", "--amend", "--no-edit", "--no-verify", "-S", hooks=False)
        except GitError as error:
            why = str(error).strip().split("\n")[0]
        else:
            return []
    return [f"[not signed, as commit.gpgSign wants: {why}; `git commit --amend -S` signs it]"]


def _hooks(git: GitRepository) -> list[str]:
    """The hooks that a commit would run."""
    folder = os.path.expanduser(git.setting("core.hookspath"))
    if not folder:
        common = git.text("rev-parse", "--git-common-dir").rstrip("\n")
        folder = os.path.join(common, "hooks")
    folder = os.path.join(git.workspace, folder)
    return [name for name in _HOOKS if os.access(os.path.join(folder, name), os.X_OK)]


def _ignored(git: GitRepository, paths: Sequence[str]) -> list[str]:
    """Those of the paths that git ignores; what is tracked, or was until now, is not."""
    named = [f"./{path}" for path in paths if path != "."]
    if not named:
        return []
    arguments = ("check-ignore", "-z", "--stdin")
    out = git.bytes(*arguments, data=named, accepted=(0, 1), literal=False)
    ignored = [os.fsdecode(path).removeprefix("./") for path in out.split(b"\0") if path]
    return [path for path in ignored if not git.is_committed(path)]


def _filtered_by_repository(git: GitRepository, paths: Sequence[str]) -> bool:
    """Whether a filter of the repository's own must run. Raises GitError if it may not."""
    fields = git.bytes("check-attr", "-z", "--stdin", "filter", data=paths).split(b"\0")
    wanted = False
    for path, value in zip(fields[::3], fields[2::3], strict=False):
        name = os.fsdecode(value)
        if name in git.own_filters:
            if not git.may_confine:
                raise GitError(
                    f"{os.fsdecode(path)} passes the filter {name} of this repository's own "
                    f"configuration, which did not run: {git.why_not_confined}"
                )
            wanted = True
        elif name == "lfs" and not git.setting("filter.lfs.clean"):
            raise GitError(
                f"{os.fsdecode(path)} is kept by git-lfs, which is not set up here; the user must "
                "run `git lfs install`"
            )
    return wanted


def _merging(git: GitRepository) -> bool:
    return git.is_revision("MERGE_HEAD")


def _literal(paths: Sequence[str]) -> list[str]:
    """The paths as pathspecs without patterns: hooks must not inherit the variable for that."""
    return [f":(top,literal){path}" for path in paths]
