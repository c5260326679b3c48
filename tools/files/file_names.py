"""Finds files by name: part of it, a glob, or a regular expression.

Names are compared in composed Unicode (NFC), since a name that came from a Mac may be decomposed.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Sequence

from pathspec import GitIgnoreSpec


def composed(text: str) -> str:
    """The text in composed Unicode."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


_FOLDED = str.maketrans(
    "‘’‚‛“”„‟‐‑‒–—―−\u00a0\u2002\u2003\u2007\u2009\u202f\u3000",
    "'" * 4 + '"' * 4 + "-" * 7 + " " * 7,
    "\u200b\u200c\u200d\u2060\ufeff\u200e\u200f",
)
"""Characters that look alike: names come with them (the narrow space in the names of a Mac's
screenshots), and models write the plain ones."""


def _folded(name: str) -> str:
    return " ".join(composed(name).translate(_FOLDED).split())


def _as_shown(name: str) -> str:
    """A name as a model reads it, if bytes of it are no text; else empty."""
    shown = re.sub("[\ud800-\udfff\ufffd]", "?", name)
    return shown if "?" in shown else ""


SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("composed or decomposed characters", composed),
    ("spaces, quotes or dashes that look alike", _folded),
    ("bytes that are no text", _as_shown),
    ("upper and lower case", lambda name: _folded(name).casefold()),
)
"""How two names for one file may differ, in the order in which they are tried."""


def expand_globs(text: str) -> list[str]:
    """A glob for each alternative: `*.{js,ts}`, `*.js, *.ts` and `*.js *.ts` each give two.

    `My Notes/*.md` gives one: a blank separates only what looks like globs on both sides.
    """
    result: list[str] = []
    parts: list[str] = []
    for listed in re.split(r"\s*,\s*(?![^{]*\})", text.strip()):
        words = re.split(r"\s+(?![^{]*\})", listed)
        parts += words if all(re.search(r"[*?{]", word) for word in words) else [listed]
    for part in parts:
        match = re.search(r"\{([^{}]*)\}", part)
        if match:
            for option in match.group(1).split(","):
                whole = part[: match.start()] + option.strip() + part[match.end() :]
                result += expand_globs(whole)
        elif part:
            result.append(part)
    return result


class Globs:
    """Globs as in `.gitignore`, relative to the root or to the folder that is searched.

    A glob without a slash matches names, `!GLOB` excludes, and one that names a folder matches all
    that is below it. None at all match every file.
    """

    def __init__(self, globs: Sequence[str], *, root: str = "/", folder: str = ".") -> None:
        self._patterns: list[str] = []
        for glob in globs:
            sign, bare = ("!", glob[1:]) if glob.startswith("!") else ("", glob)
            bare = composed(bare).removeprefix(root.rstrip("/") + "/").removeprefix("./")
            if _usable(bare):
                self._patterns.append(sign + bare)
                if folder != "." and "/" in bare.rstrip("/") and not bare.startswith(("/", "**")):
                    self._patterns.append(f"{sign}/{folder}/{bare}")
        excluding = all(pattern.startswith("!") for pattern in self._patterns)
        self._spec = GitIgnoreSpec.from_lines(["**"] * excluding + self._patterns)
        self._excluding = excluding

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def match(self, path: str) -> bool:
        """Whether a path relative to the root matches."""
        return self._spec.match_file(composed(path))

    def ignore_file(self) -> str:
        """The text of an ignore file, read at the root, that leaves only what matches."""
        lines = [] if self._excluding else ["*", "!*/"]
        for pattern in self._patterns:
            for form in {pattern, unicodedata.normalize("NFD", pattern)}:
                if form.startswith("!"):
                    lines.append(form[1:])
                else:
                    lines += [f"!{form}", f"!{form.rstrip('/')}/**"]
        return "".join(line + "\n" for line in lines)


def _usable(glob: str) -> bool:
    try:
        return bool(glob) and len(GitIgnoreSpec.from_lines([glob])) > 0
    except ValueError:
        return False


def match_names(paths: list[str], pattern: str) -> list[str]:
    """Paths that match a name, part of a name, a glob or an expression, best first."""
    pattern = composed(pattern.strip().removeprefix("./"))
    folded = pattern.lower()
    ranked: list[tuple[int, int, int, str]] = []
    expression = None
    if re.escape(pattern).replace("\\", "") != pattern or any(c in pattern for c in "^$|+()"):
        try:
            expression = re.compile(pattern, re.IGNORECASE)
        except re.error:
            expression = None
    is_glob = any(c in pattern for c in "*?[")
    globs = GitIgnoreSpec.from_lines([pattern]) if is_glob else None
    for on_disk in paths:
        path = composed(on_disk)
        lowered = path.lower()
        name = lowered.rpartition("/")[2]
        if name == folded or lowered == folded:
            score = 0
        elif name.rpartition(".")[0] == folded:
            score = 1
        elif is_glob and globs is not None:
            if globs.match_file(path) or fnmatch.fnmatchcase(name, folded):
                score = 2
            elif expression is not None and expression.search(path):
                score = 5
            else:
                continue
        elif name.startswith(folded):
            score = 2
        elif folded in name:
            score = 3
        elif folded in lowered:
            score = 4
        elif expression is not None and expression.search(path):
            score = 5
        else:
            continue
        ranked.append((score, path.count("/"), len(path), on_disk))
    return [path for *_, path in sorted(ranked)]
