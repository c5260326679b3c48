"""Commands whose loss no undo makes good: git's history, and files that no checkpoint has.

A checkpoint holds the files that git tracks or could track. It does not hold `.git` itself, files
that git ignores, or anything outside the workspace. Commands are judged by their words; what a
script deletes inside is not seen.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice

from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.analysed import CommandAnalysis
from laguna_agent.policy.command_analysis import analyse
from laguna_agent.policy.git_files import is_ignored, is_regenerable, is_tracked
from laguna_agent.policy.git_table import without_globals
from laguna_agent.policy.shell_syntax import Script, SimpleCommand, Word
from laguna_agent.policy.words import possible_texts
from laguna_agent.policy.wrappers import expanded, texts_for_shells, texts_run

_SCRATCH = ("/tmp", "/var/tmp", "/dev", "/run", "/proc")
_DELETING = frozenset({"rm", "unlink", "shred", "truncate", "rimraf"})
_MOST_ENTRIES = 2_000
_MOST_DEPTH = 4


def loss(analysis: CommandAnalysis, root: str, depth: int = 0) -> str | None:
    """Why what a command line loses cannot be undone, or None. `root` is the workspace."""
    script = analysis.script
    for word in script.writes:
        if word.value and (reason := _in_git(os.path.join(analysis.cwds[-1], word.value), root)):
            return reason
    texts: list[tuple[str | None, str]] = [
        (text, analysis.cwds[-1]) for text in texts_for_shells(script)
    ]
    for command in analysis.commands:
        for simple, _ in expanded(command.simple):
            if reason := _loss_of(simple, script, command.cwd, root):
                return reason
            texts += [(text, command.cwd) for text in texts_run(simple) or []]
            texts += [(text, command.cwd) for text in _run_by_code(simple)]
    for text, cwd in texts if depth < _MOST_DEPTH else []:
        if text and (reason := loss(analyse(text, cwd), root, depth + 1)):
            return reason
    return None


def _loss_of(simple: SimpleCommand, script: Script, cwd: str, root: str) -> str | None:
    name = os.path.basename(simple.name or "")
    words = simple.words[1:]
    if name == "git":
        values = [word.value or "" for word in words]
        folder = next((values[i + 1] for i, v in enumerate(values[:-1]) if v == "-C"), "")
        if _is_scratch(os.path.join(cwd, folder), root):
            return None
        return _git_loss(values)
    if name == "find":
        paths = _found(simple, cwd)
    elif name in _DELETING:
        operands = _operands(words)
        if name == "truncate" and operands:
            operands = [word for word in operands if not re.fullmatch(r"[+-]?\d+\w*", word.text)]
        paths = _paths(operands, script, cwd)
        if not operands:  # behind xargs
            paths = [path for other in script.commands for path in _fed(other, script, cwd)]
            paths += [os.path.join(cwd, w) for text in script.documents for w in text.split()]
    elif name == "mv":
        operands = _operands(words)
        paths = _paths(operands[:-1], script, cwd)
        target = os.path.join(cwd, (operands[-1].value or "") if operands else "")
        if sensitive_paths.is_under(sensitive_paths.real(target), root):
            return next((r for path in paths if (r := _in_git(path, root))), None)
    elif name == "rsync" and any(word.text.startswith("--del") for word in words):
        paths = _paths(_operands(words)[-1:], script, cwd)
    elif name in ("cp", "ln", "install", "tee", "rsync"):
        targets = _paths(_operands(words)[-1:], script, cwd)
        return next(
            (r for path in targets if "/.git/" in path and (r := _in_git(path, root))), None
        )
    else:
        return None
    return next((reason for path in paths if (reason := _lost(path, root))), None)


_CODE = re.compile(r"(python|pypy|node|nodejs|ruby|perl|php)[\d.]*")
_STARTS = re.compile(r"system|popen|\brun\b|\bcall\b|check_|exec|spawn", re.IGNORECASE)
_REMOVES = re.compile(r"rmtree|rm_rf|rm_r|rmSync|rmdirSync|unlink|os\.remove|rimraf")


def _run_by_code(simple: SimpleCommand) -> Iterator[str]:
    """Command lines in the code that an interpreter is given (`python3 -c "os.system('rm …')"`)."""
    if not _CODE.fullmatch(os.path.basename(simple.name or "")):
        return
    for word in simple.words[1:]:
        code = word.value or ""
        for quoted in re.findall(r"['\"]([^'\"\n]{1,500})['\"]", code):
            if _STARTS.search(code):
                yield quoted
            elif _REMOVES.search(code):
                yield f"rm -rf {shlex.quote(quoted)}"


# --- git ----------------------------------------------------------------------------------------


def _git_loss(values: Sequence[str]) -> str | None:
    words = without_globals(values)
    if not words:
        return None
    name, rest = words[0], words[1:]
    options = {word.split("=", 1)[0] for word in rest if word.startswith("--")}
    letters = {c for word in rest if re.match(r"-[^-]", word) for c in word[1:]}
    operands = [word for word in rest if not word.startswith("-")]
    forced = "f" in letters or any(option.startswith("--force") for option in options)
    deletes = bool({"d", "D"} & letters) or "--delete" in options
    dry = "n" in letters or "--dry-run" in options
    set_before = " ".join(values[: len(values) - len(words)]).lower()
    match name:
        case "reset":
            lost = "--hard" in options
        case "clean":
            lost = bool({"x", "X"} & letters) and not dry
            lost = lost and not (operands and all(map(is_regenerable, operands)))
        case "gc":
            lost = any(re.match(r"--prune=(now|all|\d+\.?(s|min|h|d))", word) for word in rest)
            lost = lost or "expire" in set_before
        case "prune":
            lost = not dry
        case "reflog":
            lost = operands[:1] in (["expire"], ["delete"]) and not dry
        case "branch":
            lost = bool({"D", "M", "C"} & letters) or (forced and (deletes or "m" in letters))
        case "tag":
            lost = deletes or forced
        case "push":
            lost = forced or deletes or bool({"--mirror", "--prune"} & options)
            lost = (lost or any(word[:1] in ("+", ":") for word in operands)) and not dry
        case "update-ref" | "symbolic-ref":
            lost = deletes or "--stdin" in options
        case "stash":
            lost = operands[:1] in (["drop"], ["clear"])
        case "worktree":
            lost = operands[:1] == ["remove"] and forced
        case "submodule":
            lost = operands[:1] == ["deinit"] and forced
        case "filter-branch" | "filter-repo":
            lost = True
        case _:
            lost = f"alias.{name}=" in set_before
    shown = " ".join(word for word in words[:3] if re.fullmatch(r"[\w./=@{}:+-]+", word))
    return f"no undo brings back what `git {shown}` may lose" if lost else None


# --- files --------------------------------------------------------------------------------------


def _operands(words: Sequence[Word]) -> list[Word]:
    operands: list[Word] = []
    after_dashes = False
    for word in words:
        if word.value == "--" and not after_dashes:
            after_dashes = True
        elif after_dashes or not word.text.startswith("-"):
            operands.append(word)
    return operands


def _paths(words: Sequence[Word], script: Script, cwd: str) -> list[str]:
    """The paths that words may name; none for a word that only the shell knows."""
    found: list[str] = []
    for word in words:
        if word.value is not None and not word.glob:
            found.append(os.path.join(cwd, word.value))
            continue
        texts = [word.value] if word.value is not None else possible_texts(word.text, script.values)
        for text in texts:
            path = os.path.join(cwd, text)
            matches = (
                islice(glob.iglob(path), _MOST_ENTRIES) if re.search(r"[*?\[]", text) else [path]
            )
            found += matches
    return found


def _fed(source: SimpleCommand, script: Script, cwd: str) -> list[str]:
    """The paths that a command prints for `xargs rm`, as far as its words say."""
    name = os.path.basename(source.name or "")
    words = source.words[1:]
    if name == "find":
        return _found(SimpleCommand([*source.words, Word("-delete", "-delete")], "", True), cwd)
    if name in ("echo", "printf"):
        return _paths(words, script, cwd)
    if name == "ls":
        folders = _paths(_operands(words), script, cwd) or [cwd]
        return [path for folder in folders for path in glob.glob(os.path.join(folder, "*"))]
    if name == "git" and {"--others", "--ignored"} & {word.value for word in words}:
        return [os.path.join(cwd, ".")]
    return []


def _found(simple: SimpleCommand, cwd: str) -> list[str]:
    """The paths that a `find` deletes: its folders, or what has one of its names below them."""
    values = [word.value or "" for word in simple.words[1:]]
    deletes = "-delete" in values or any(
        value in ("-exec", "-execdir", "-ok", "-okdir")
        and any(os.path.basename(word) in _DELETING for word in values[index + 1 : index + 4])
        for index, value in enumerate(values)
    )
    if not deletes or "-empty" in values:
        return []
    first = next((i for i, v in enumerate(values) if v[:1] in ("-", "(", "!")), len(values))
    roots = [os.path.join(cwd, value) for value in values[:first] or ["."]]
    names = [values[i + 1] for i, v in enumerate(values[:-1]) if v in ("-name", "-iname")]
    if not names or {"!", "-not"} & set(values):
        return roots
    return [
        path
        for top in roots
        for path in _below(top, everything=True)
        if any(fnmatch.fnmatchcase(os.path.basename(path), name) for name in names)
    ]


def _below(top: str, *, everything: bool = False) -> Iterator[str]:
    """Files and folders below `top`, at most some thousand; not inside what a build makes again
    unless `everything`, nor among git's objects."""
    left = _MOST_ENTRIES
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files]:
            yield os.path.join(folder, name)
            left -= 1
            if not left:
                return
        folders[:] = [
            name
            for name in folders
            if not re.fullmatch(r"[0-9a-f]{2}", name) and (everything or not is_regenerable(name))
        ]


def _is_scratch(path: str, root: str) -> bool:
    real = sensitive_paths.real(path)
    return not sensitive_paths.is_under(real, root) and any(
        sensitive_paths.is_under(real, place) for place in _SCRATCH
    )


def _in_git(path: str, root: str) -> str | None:
    """Why changing `path` damages a repository, or None."""
    place = _place(path)
    if not sensitive_paths.is_under(place, root):
        return None
    parts = os.path.relpath(place, root).split("/")
    if ".git" in parts:
        inside = parts[parts.index(".git") + 1 :]
        if inside[:1] == ["info"] or (inside and inside[-1].endswith(".lock")):
            return None
        return "it changes .git, which holds the history, and no undo brings that back"
    if place == root or os.path.lexists(os.path.join(place, ".git")):
        return "it deletes or moves a whole repository, which no undo brings back"
    return None


def _place(path: str) -> str:
    """`path` with the links above it resolved, but not one in its place."""
    folder, name = os.path.split(os.path.normpath(path))
    return os.path.join(sensitive_paths.real(folder), name) if name else folder


def _lost(path: str, root: str) -> str | None:
    """Why deleting `path` cannot be undone, or None."""
    place = _place(path)
    if not os.path.lexists(place) or os.path.islink(place) or _is_scratch(place, root):
        return None
    if not sensitive_paths.is_under(place, root):
        if sensitive_paths.is_under(place, sensitive_paths.home() / ".cache"):
            return None
        return f"{place} is outside the workspace, where laguna can undo nothing"
    if reason := _in_git(place, root):
        return reason
    for candidate in (place, *(_below(place) if os.path.isdir(place) else ())):
        relative = os.path.relpath(candidate, root)
        if is_regenerable(relative):
            continue
        if candidate != place and os.path.basename(candidate) == ".git":
            place = os.path.dirname(relative)
            return f"it deletes the repository in {place}, which no undo brings back"
        whole = candidate == place or not os.path.isdir(candidate)
        if whole and is_ignored(root, relative) and not is_tracked(root, relative):
            return f"git ignores {relative}, so no undo brings it back"
    return None
