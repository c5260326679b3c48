"""Git subcommands that only read, and the options that keep them read-only.

Git also runs programs that a repository's configuration names; see `git_config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_GLOBAL = frozenset(
    {"--no-pager", "-P", "--no-optional-locks", "--literal-pathspecs", "--no-replace-objects"}
)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DIFF = _names(
    "-p -u --patch -s --no-patch --raw --patch-with-raw --minimal --patience --histogram --stat "
    "--numstat --shortstat --dirstat --summary --compact-summary --name-only --name-status -z "
    "--color --no-color --color-words --word-diff --no-renames -M -C -B -D -R -a --text -b -w "
    "--ignore-space-change --ignore-all-space --ignore-space-at-eol --ignore-blank-lines "
    "--ignore-cr-at-eol --function-context -W --exit-code --quiet --no-ext-diff --no-textconv "
    "--no-prefix --cached --staged --merge-base --check --full-index --find-renames "
    "--find-copies --find-copies-harder --pickaxe-all --pickaxe-regex --ita-invisible-in-index "
    "-q --relative --abbrev --unified --diff-filter -S -G -l -O --stat-width -c --cc "
    "--diff-merges --no-index --color-moved --indent-heuristic -U"
)
_LOG = _DIFF | _names(
    "--oneline --graph --all --branches --tags --remotes --decorate --no-decorate --reverse "
    "--first-parent --merges --no-merges --follow --date-order --topo-order --author-date-order "
    "--simplify-by-decoration --full-history --boundary --left-right --cherry --cherry-mark "
    "--cherry-pick --abbrev-commit --no-abbrev-commit --relative-date --walk-reflogs -g "
    "--pretty --format --date --author --committer --grep -i -E -F --since --after --until "
    "--before --max-count -n --skip --glob --exclude --not --no-walk --invert-grep --all-match "
    "--source --parents --children --objects --count --decorate-refs --no-notes --notes -L "
    "--ancestry-path --sparse --left-only --right-only --mailmap --use-mailmap"
)
READING: dict[str, frozenset[str]] = {
    "status": _names(
        "-s --short -b --branch --show-stash --porcelain --long -v --verbose -u "
        "--untracked-files --ignored -z --ahead-behind --no-ahead-behind --renames --no-renames "
        "--find-renames --column --no-column --ignore-submodules"
    ),
    "log": _LOG,
    "show": _LOG,
    "diff": _DIFF,
    "whatchanged": _LOG,
    "rev-list": _LOG,
    "shortlog": _LOG | _names("-s -e --summary --numbered --email -w --group"),
    "blame": _names(
        "-L -w -M -C -e -s -l -t -f -n -p --porcelain --line-porcelain --date --root "
        "--show-email --show-name --show-number --since --abbrev --color-lines"
    ),
    "annotate": _names("-L -w -M -C"),
    "ls-files": _names(
        "-c --cached -d --deleted -m --modified -o --others -i --ignored -s --stage -u --unmerged "
        "-k --killed -z -t -v --exclude-standard --exclude -x --full-name --error-unmatch "
        "--directory --no-empty-directory --eol --deduplicate --abbrev --recurse-submodules"
    )
    - {"--recurse-submodules"},
    "ls-tree": _names(
        "-d -r -t -l --long -z --name-only --name-status --full-name --full-tree "
        "--abbrev --object-only --format"
    ),
    "rev-parse": _names(
        "--abbrev-ref --short --verify --quiet -q --show-toplevel --show-prefix --show-cdup "
        "--git-dir --absolute-git-dir --git-common-dir --is-inside-work-tree --is-inside-git-dir "
        "--is-bare-repository --symbolic --symbolic-full-name --all --branches --tags --remotes "
        "--not --show-superproject-working-tree --git-path --is-shallow-repository"
    ),
    "describe": _names(
        "--all --tags --contains --abbrev --candidates --exact-match --long "
        "--match --exclude --always --first-parent --dirty --broken"
    )
    - {"--broken"},
    "merge-base": _names("-a --all --octopus --is-ancestor --independent --fork-point"),
    "name-rev": _names("--tags --refs --exclude --all --name-only --no-undefined --always"),
    "for-each-ref": _names(
        "--count --sort --format --points-at --merged --no-merged --contains "
        "--no-contains --ignore-case --shell --color"
    ),
    "show-ref": _names(
        "--head -d --dereference -s --hash --verify --abbrev -q --quiet --tags --heads --branches"
    ),
    "cat-file": _names("-t -s -e -p --batch-check --batch"),
    "count-objects": _names("-v -H --verbose --human-readable"),
    "check-ignore": _names("-q -v -n --quiet --verbose --non-matching --no-index"),
    "check-attr": _names("-a --all --cached"),
    "diff-tree": _LOG | _names("-r -t --root -m"),
    "diff-index": _DIFF | _names("-m"),
    "diff-files": _DIFF,
    "cherry": _names("-v --abbrev"),
    "range-diff": _LOG | _names("--creation-factor --no-dual-color"),
    "grep": _names(
        "-n --line-number -i --ignore-case -l --files-with-matches -L --files-without-match -c "
        "--count -w --word-regexp -v --invert-match -E --extended-regexp -F --fixed-strings -G "
        "-P --perl-regexp -e --and --or --not -A -B -C --after-context --before-context --context "
        "-h -H --full-name --name-only -o --only-matching -q --quiet --untracked --cached "
        "--no-index --exclude-standard --heading --break -p --show-function -W "
        "--function-context --color --no-color -a --text -I --max-depth -r --recursive --column "
        "-m --max-count"
    ),
    "version": _names("--build-options"),
}
_LONG_ONLY = frozenset({"rev-parse"})
_LISTING: dict[str, Callable[[Sequence[str]], bool]] = {}
"""Subcommands that read or write, depending on their arguments."""


def _lists(name: str, pattern: str) -> None:
    compiled = re.compile(pattern)

    def listing(words: Sequence[str]) -> bool:
        asked = words[:1] and words[0] in ("-l", "--list")
        return all(compiled.fullmatch(w) or (asked and not w.startswith("-")) for w in words)

    _LISTING[name] = listing


_LISTING_OPTIONS = (
    r"(-[avr]+|-vv|--(all|remotes|list|verbose|no-color|color|show-current|ignore-case|column|"
    r"no-column)|--(sort|format|contains|no-contains|merged|no-merged|points-at|abbrev)=[^%]*"
    r"|--format=(%\((refname|objectname|upstream|committerdate|subject|authorname)[\w:.-]*\)"
    r"|[ \w/-])*)"
)
_lists("branch", _LISTING_OPTIONS)
_lists("tag", r"(-l|--list|-n\d*|--(sort|contains|merged|points-at)=[^%]*)")
_lists("remote", r"(-v|--verbose)")


def _two(words: Sequence[str], first: str, rest: str) -> bool:
    return (
        bool(words)
        and words[0] in first.split()
        and all(re.fullmatch(rest, word) for word in words[1:])
    )


_LISTING["stash"] = lambda words: (
    _two(words, "list", r"-\d+|--oneline|--stat|-p")
    or _two(words, "show", r"-p|--stat|--name-only|--name-status|-u|stash@\{\d+\}|\d+")
)
_LISTING["worktree"] = lambda words: _two(words, "list", r"--porcelain|-v|-z")
_LISTING["reflog"] = lambda words: (
    not words
    or _two(words, "show", r"[\w/@{}.]+|-\d+|-n\d+")
    or all(re.fullmatch(r"-\d+|-n\d+|--oneline", word) for word in words)
)
_LISTING["config"] = lambda words: (
    bool(words)
    and (
        words[0] in ("--get", "--get-all", "--list", "-l", "--get-regexp", "get", "list")
        or (
            words[0] in ("--local", "--global", "--system", "--show-origin")
            and len(words) > 1
            and words[1] in ("--get", "--list", "-l", "--get-all")
        )
    )
    and not any(
        re.match(r"-(-f|f|-blob|-add|-unset|-replace|-rename|-remove|e|-edit|-type)", word)
        for word in words
    )
)
_LISTING["symbolic-ref"] = lambda words: (
    _two(words, "HEAD --short -q", r"HEAD|--short|-q")
    and (sum(not word.startswith("-") for word in words) == 1)
)
_LISTING["notes"] = lambda words: _two(words, "list show", r"[\w/]+")


def without_globals(words: Sequence[str]) -> list[str]:
    """The words after `git` from the subcommand on, without `-C DIR` and other global options."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        position += 2 if words[position] in _GLOBAL_VALUED else 1
    return list(words[position:])


_GLOBAL_VALUED = frozenset(
    {"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", "--attr-source"}
)


class GitReads:
    """The directories and paths that a read-only git command line reads."""

    def __init__(self) -> None:
        self.directories: list[str] = []
        """Values of `-C`, in order."""
        self.paths: list[str] = []
        self.shows = False
        """Whether it prints what is in files."""


_ALWAYS_SHOW = frozenset({"blame", "annotate", "grep", "cat-file", "range-diff"})
_SHOW_UNLESS_SUMMARY = frozenset({"show", "diff", "whatchanged"})
_SUMMARY = re.compile(
    r"--(stat|numstat|shortstat|dirstat|summary|compact-summary|name-only|name-status|no-patch|"
    r"quiet|raw)(=.*)?|-s|-q"
)
_PATCH = re.compile(
    r"--(patch|patch-with-raw|cc|word-diff|color-words|function-context|unified)(=.*)?"
    r"|-[pucW]+|-L.*|-U\d*"
)


def analyse_git(words: Sequence[str]) -> GitReads | str:
    """What the command line after `git` reads, or why it is not known to be read-only."""
    reading = GitReads()
    position = 0
    while position < len(words) and words[position].startswith("-"):
        word = words[position]
        if word == "-C" and position + 1 < len(words):
            reading.directories.append(words[position + 1])
            position += 2
        elif word in _GLOBAL:
            position += 1
        elif word == "--version" and len(words) == 1:
            return reading
        else:
            return f"git {word} is not a known read-only option"
    if position == len(words):
        return reading
    name, rest = words[position], list(words[position + 1 :])
    if name == "remote" and rest[:1] == ["get-url"] and len(rest) == 2:
        return reading
    reading.shows = (
        name in _ALWAYS_SHOW
        or (name in _SHOW_UNLESS_SUMMARY and not any(map(_SUMMARY.fullmatch, rest)))
        or any(map(_PATCH.fullmatch, rest))
    )
    if name in _LISTING:
        return reading if _LISTING[name](rest) else f"git {name} may change the repository"
    if name not in READING:
        return f"git {name} is not a known read-only command"
    return _options(name, rest, reading)


def _options(name: str, rest: list[str], reading: GitReads) -> GitReads | str:
    allowed = READING[name]
    after_dashes = False
    for word in rest:
        if after_dashes or not word.startswith("-") or word == "-":
            reading.paths.append(word)
        elif word == "--":
            after_dashes = True
        elif "%G" in word:
            return "a %G format runs the program that checks signatures"
        elif not _is_allowed(name, word, allowed):
            return f"git {name} {word} is not a known read-only option"
    if name == "cat-file" and any(word.startswith("--batch") and "=" in word for word in rest):
        return "git cat-file with a format is not known to be read-only"
    return reading


def _is_allowed(name: str, word: str, allowed: frozenset[str]) -> bool:
    if word.startswith("--"):
        return word.split("=", 1)[0] in allowed
    if re.fullmatch(r"-\d+", word):
        return True
    if name in _LONG_ONLY:
        return word in allowed
    if word[:2] in allowed and (len(word) == 2 or word[2:].isdigit()):
        return True  # `-U5`, `-n10`
    if word[:2] in allowed and name in _ATTACHED and word[1] in _ATTACHED[name]:
        return True
    return all(f"-{letter}" in allowed for letter in word[1:])  # `-sb`


_ATTACHED = {
    **dict.fromkeys(("log", "show", "diff", "rev-list", "whatchanged"), "SGLCM"),
    "blame": "LCM",
    "status": "u",
    "ls-files": "x",
}
"""Short options with attached text; after others, a letter is another option."""
