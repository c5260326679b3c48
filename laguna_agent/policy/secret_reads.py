"""Which secrets a command would show to the model.

A command that only names a secret file (`test -f .env`, `touch .env.test`, `pytest --env=prod.env`)
or writes it (`cp .env.example .env`) shows nothing. One that prints, copies or sends it does, by
whatever spelling: a pattern, a link, a redirection, a walk through the folder it is in.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence

from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.analysed import CommandAnalysis, Walk
from laguna_agent.policy.command_analysis import analyse, expand
from laguna_agent.policy.command_table import READ_ONLY_PROGRAMS
from laguna_agent.policy.git_files import is_ignored, is_tracked
from laguna_agent.policy.git_table import without_globals
from laguna_agent.policy.shell_syntax import Script, SimpleCommand, Word
from laguna_agent.policy.words import possible_paths, possible_texts
from laguna_agent.policy.wrappers import expanded, texts_for_shells

_NOT_SHOWING = re.compile(
    "touch|chmod|chown|chgrp|mkdir|rmdir|rm|unlink|truncate|shred|mktemp|tee|make|docker|"
    "docker-compose|podman|buildah|type|which|command|pushd|popd|export|local|declare|alias|printf|"
    "sops"
)
"""Programs that name a file without printing what is in it."""
_COPYING = frozenset({"cp", "mv", "ln", "install", "rsync", "scp"})
_ALWAYS_SHOWING = re.compile(
    "curl|wget|http|nc|ncat|socat|openssl|gpg|age|xargs|dd|bat|batcat|less|more|most|view|vim|vi|"
    "nvim|nano|emacs|ed|ex|pr|iconv|split|csplit|look|m4|envsubst|pygmentize|xxd|hexyl|yq|zcat|"
    "gzip|bzip2|xz|zstd|tar|zip|7z|ar|cpio"
)
"""Programs that print or send what any of their arguments names, options included."""
_INTERPRETERS = re.compile(r"(python|pypy|ruby|perl|php|lua|node|nodejs|bun|deno|sqlite)[\d.]*")
_GIT_SHOWING = re.compile(
    "show|diff|blame|annotate|grep|cat-file|archive|hash-object|interpret-trailers|checkout-index"
)
_LISTS = {"wc": "--f", "du": "--f", "date": "-f|--f", "file": "-f|-m|--f|--m", "make": "-f|--f|--m"}
"""Options of programs that print lines of the file that such an option names, if only in errors."""
_SHOWING_MODULES = frozenset({"base64", "fileinput", "json.tool", "quopri", "tarfile", "tokenize"})
_SKIPPED = frozenset(
    {".git", "node_modules", ".venv", "venv", "site-packages", "__pycache__", ".tox", ".nox"}
)
_MOST_FILES = 20_000
_MOST_DEPTH = 4

Permits = Callable[[str], bool]
"""Whether a rule allows reading a path."""


def secret_files(folder: str) -> Iterator[str]:
    """Files below `folder` that may hold secrets, among the first thousands; not what package
    installers made."""
    left = _MOST_FILES
    for current, folders, files in os.walk(folder):
        inside = sensitive_paths.is_secret_file(current + "/.")
        for name in files:
            if inside or sensitive_paths.is_secret_file(os.path.join(current, name)):
                yield os.path.join(current, name)
        left -= len(files)
        if left < 0:
            return
        folders[:] = [name for name in folders if name not in _SKIPPED]


def untracked_secrets(root: str) -> list[str]:
    """The secret files of a workspace that its repository does not hold anyway."""
    return [
        path for path in secret_files(root) if not is_tracked(root, os.path.relpath(path, root))
    ]


def walked_secret(analysis: CommandAnalysis, root: str, permits: Permits) -> str | None:
    """Why a search or a listing of changes may show a secret that it does not name, or None."""
    for command in analysis.commands:
        for walk in command.walks:
            for path in secret_files(walk.folder):
                relative = os.path.relpath(path, root)
                if _is_walked(walk, path, root) and not permits(path):
                    return f"it may show {relative}, which may hold secrets"
    return None


def _is_walked(walk: Walk, path: str, root: str) -> bool:
    relative = os.path.relpath(path, root)
    if walk.names and not any(fnmatch.fnmatchcase(os.path.basename(path), n) for n in walk.names):
        return False
    if walk.tracked_only:
        return is_tracked(root, relative)
    below = os.path.relpath(path, walk.folder)
    if not walk.hidden and any(part.startswith(".") for part in below.split("/")):
        return False
    return walk.ignored or not is_ignored(root, relative)


def shown_secret(analysis: CommandAnalysis, permits: Permits, depth: int = 0) -> str | None:
    """Why a command shows a secret file that it names, or None."""
    for text in texts_for_shells(analysis.script) if depth < _MOST_DEPTH else []:
        if text is not None:
            inner = analyse(text, analysis.cwds[-1])
            if reason := shown_secret(inner, permits, depth + 1):
                return reason
    for path in _shown(analysis):
        if not permits(path) and any(
            sensitive_paths.is_secret_file(text) for text in sensitive_paths.spellings(path)
        ):
            return f"{os.path.basename(path)} may hold secrets"
    return None


def _shown(analysis: CommandAnalysis) -> Iterator[str]:
    """The paths that the commands of a line show."""
    yield from analysis.input_files
    for command in analysis.commands:
        if command.verdict == "read-only" and command.shows:
            yield from command.reads
            if not command.git_at:
                continue
        for simple, _ in expanded(command.simple):
            for word in _shown_words(simple, analysis.script, command.cwd):
                yield from expand(word, [command.cwd])


def _shown_words(simple: SimpleCommand, script: Script, cwd: str) -> Iterator[Word]:
    """The words of a command that name files whose content it shows."""
    name = os.path.basename(simple.name or "")
    words = [known for word in simple.words[1:] for known in _known(word, script)]
    spec = READ_ONLY_PROGRAMS.get(name)
    if name in _LISTS:
        yield from _listed(words, _LISTS[name])
    elif name == "git":
        yield from _parts(words) if _git_shows(words) else ()
    elif name in ("sed", "perl", "ruby") and any(_in_place(word) for word in words):
        return
    elif name == "find":
        yield from _found(words, cwd) if _shows_what_it_finds(simple, script) else ()
    elif _ALWAYS_SHOWING.fullmatch(name) or (spec and spec.shows and spec.operands != "text"):
        yield from _parts(words)
        if "awk" in name:
            yield from _quoted_names([word.value or "" for word in words])
        if "xargs" in _program_names(script):
            yield from _printed(script)
    elif _NOT_SHOWING.fullmatch(name) or (spec and spec.check is None):
        return
    elif name in _COPYING:
        yield from _copied(words)
    else:
        yield from _plain_operands(words)
        if _INTERPRETERS.fullmatch(name):
            values = [word.value or "" for word in words]
            if _SHOWING_MODULES.intersection(values):
                yield from _parts(words)
            printed = [word.value or "" for word in _printed(script)]
            yield from _quoted_names([*values, *printed, *script.documents])


def _program_names(script: Script) -> set[str]:
    """The names of the programs of a line."""
    return {simple.name or "" for simple in script.commands}


def _known(word: Word, script: Script) -> list[Word]:
    if word.value is not None:
        return [word]
    texts = possible_texts(word.text, script.values)
    if not texts:  # `$DIR/.env`: the last part may be known
        last = word.text.rsplit("/", 1)[-1].strip("\"'")
        texts = [] if re.search(r"[$`()]", last) else [last]
    return [Word(text, text, bool(re.search(r"[*?\[]", text))) for text in texts]


def _parts(words: Sequence[Word]) -> Iterator[Word]:
    """Words, and what follows an option, `=` or `@` in them."""
    for word in words:
        for part in possible_paths(word.value):
            for piece in (part, part.rsplit(":", 1)[-1], part.rsplit("@", 1)[-1]):
                yield Word(piece, piece, word.glob)


def _listed(words: Sequence[Word], options: str) -> Iterator[Word]:
    """The values of such options, in the same word or the next."""
    before = ""
    for word in words:
        text = word.value or ""
        if found := re.match(rf"({options})[\w-]*=?", text):
            for value in (text[found.end(1) :], text.partition("=")[2]):
                yield Word(value, value, word.glob)
        elif re.match(options, before):
            yield word
        before = text


def _plain_operands(words: Sequence[Word]) -> Iterator[Word]:
    """Operands; a word after an option such as `--env-file` or `-f` is the option's value."""
    before = ""
    for word in words:
        text = word.value or ""
        is_value = re.fullmatch(r"--[\w-]+|-[efE]", before) and before != "--"
        if not text.startswith("-") and not is_value and "=" not in text:
            yield word
        before = text


def _copied(words: Sequence[Word]) -> list[Word]:
    """The sources of a copy to a name that does not tell that it holds secrets."""
    operands = [word for word in words if not (word.value or "").startswith("-")]
    target = operands[-1].value or "" if operands else ""
    if sensitive_paths.is_secret_file(target) or target.endswith("/") or os.path.isdir(target):
        return []
    return operands[:-1]


def _in_place(word: Word) -> bool:
    return bool(re.match(r"-\w*i|--in-place", word.value or ""))


def _git_shows(words: Sequence[Word]) -> bool:
    rest = without_globals([word.value or "" for word in words])
    if rest[:1] == ["config"]:
        return any(re.match("-f|--f|--blob", word) for word in rest)
    patches = any(re.match("-[puUL]|--patch|--unified", word) for word in rest)
    return bool(rest) and (patches or _GIT_SHOWING.fullmatch(rest[0]) is not None)


def _found(words: Sequence[Word], cwd: str) -> Iterator[Word]:
    """The secret files that a `find` finds by name."""
    values = [word.value or "" for word in words]
    names = [values[i + 1] for i, v in enumerate(values[:-1]) if v in ("-name", "-iname")]
    for path in secret_files(cwd) if names else ():
        if any(fnmatch.fnmatchcase(os.path.basename(path), name) for name in names):
            yield Word(path, path)


def _shows_what_it_finds(simple: SimpleCommand, script: Script) -> bool:
    """Whether a `find` gives the files to a program that prints them."""
    after = [word.value for word in simple.words]
    names = {after[i + 1] for i, v in enumerate(after[:-1]) if v in ("-exec", "-execdir")}
    if "xargs" in _program_names(script):
        names |= {w.value for s in script.commands if s.name == "xargs" for w in s.words[1:]}
    return any(
        _ALWAYS_SHOWING.fullmatch(name) or ((spec := READ_ONLY_PROGRAMS.get(name)) and spec.shows)
        for name in names
        if name
    )


def _printed(script: Script) -> Iterator[Word]:
    """What a line prints for xargs, or gives it to read."""
    texts = list(script.documents)
    for simple in script.commands:
        if simple.name in ("echo", "printf"):
            texts += [(word.value or "").replace("\\n", " ") for word in simple.words[1:]]
    for text in texts:
        for part in text.split():
            yield Word(part, part)


def _quoted_names(texts: Sequence[str]) -> Iterator[Word]:
    """Names of secret files that a program text has in quotes."""
    for text in texts:
        for quoted in re.findall(r"['\"]([^'\"\n]{1,200})['\"]", text):
            yield Word(quoted, quoted)
