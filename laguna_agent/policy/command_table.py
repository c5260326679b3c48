"""Programs that only read, and the options that keep them read-only.

The table is an allowlist: an option that is not listed asks, so neither a new version of a program
nor an abbreviated long option can introduce one that writes or runs something. `any_option` marks
programs none of whose options has a side effect.

Over 400 lines because it is one table, reviewed as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Operands = Literal["paths", "pattern", "text"]


@dataclass(frozen=True)
class ProgramSpec:
    """The options and operands with which one program only reads.

    `flags` are short options without a value, `valued` those with one; `longs` and `valued_longs`
    are the long options. `operands` says what the other words are: paths, a pattern followed by
    paths, or text; with one of `pattern_options`, all operands are paths.
    """

    flags: str = ""
    valued: str = ""
    longs: frozenset[str] = frozenset()
    valued_longs: frozenset[str] = frozenset()
    any_option: bool = False
    operands: Operands = "paths"
    most: int | None = None
    """The most operands it may have."""
    number: bool = False
    """Whether `-20` is a count."""
    reads_cwd: bool = False
    """Whether it reads the working directory when no path is given."""
    contents: bool = False
    """Whether it shows the contents of files below a directory, so that rules about them apply."""
    shows: bool = True
    """Whether it prints what is in the files that it reads, rather than something about them."""
    pattern_options: frozenset[str] = frozenset()
    check: Callable[[Sequence[tuple[str, str | None]], Sequence[str]], str | None] | None = None
    """Checks options and operands; returns a reason to ask."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


Options = Sequence[tuple[str, str | None]]
"""Option names as written (`-e`, `--expression`) with their values."""


def _sed(options: Options, operands: Sequence[str]) -> str | None:
    scripts = [value or "" for name, value in options if name in ("-e", "--expression")]
    if not scripts:
        scripts = list(operands[:1])
    if all(_SED_SCRIPT.fullmatch(script) for script in scripts):
        return None
    return "the sed script is not a plain print, delete or substitution"


_SED_ADDRESS = r"(?:\d+|\$|/(?:[^/\\\n]|\\[^\n])*/I?)"
_SED_RANGE = rf"(?:{_SED_ADDRESS}(?:\s*,\s*(?:{_SED_ADDRESS}|\+\d+))?)?\s*!?\s*"
_SED_SUBSTITUTE = "|".join(
    rf"s{d}(?:[^{d}\\\n]|\\[^\n])*{d}(?:[^{d}\\\n]|\\[^\n])*{d}[gpIi0-9]*"
    for d in ("/", r"\|", "#", ",", ":", "@")
)
_SED_ONE = rf"{_SED_RANGE}(?:[pdq=PDnNhHgGx]|q\d+|{_SED_SUBSTITUTE})"
_SED_SCRIPT = re.compile(rf"\s*{_SED_ONE}\s*(?:[;\n]\s*{_SED_ONE}\s*)*;?\s*")


def _awk(options: Options, operands: Sequence[str]) -> str | None:
    program = operands[0] if operands else ""
    if re.search(r"[>|@]|system|getline", program):
        return "the awk program may write files or run commands"
    if re.search(r"ARG[VC]|SYMTAB|FUNCTAB|PROCINFO", program):
        return "the awk program may choose the files that it reads"
    if any(re.match(r"[A-Za-z_]\w*=", word) for word in operands[1:]):
        return "the awk command sets a variable"
    return None


def _find(options: Options, operands: Sequence[str]) -> str | None:
    for word, _ in options:
        if word not in _FIND_PRIMARIES and not re.fullmatch(r"-\d+[a-zA-Z]?", word):
            return f"find {word} may change files or run commands"
    return None


_FIND_PRIMARIES = _names(
    "-P -O0 -O1 -O2 -O3 -name -iname -path -ipath -wholename -iwholename -regex -iregex "
    "-regextype -type -xtype -size -empty -mtime -atime -ctime -mmin -amin -cmin -newer -anewer "
    "-cnewer -newermt -newerat -newerct -newermm -perm -user -group -uid -gid -nouser -nogroup "
    "-links -inum -samefile -lname -ilname -maxdepth -mindepth -depth -d -mount -xdev -prune "
    "-print -print0 -printf -ls -quit -not -a -and -o -or -true -false -readable -writable "
    "-executable -daystart -warn -nowarn -noleaf -ignore_readdir_race -fstype -used"
)


def _date(options: Options, operands: Sequence[str]) -> str | None:
    if any(not word.startswith("+") for word in operands):
        return "date may set the clock"
    return None


def _tar(options: Options, operands: Sequence[str]) -> str | None:
    words = [*(name for name, _ in options), *operands]
    if not words or not re.fullmatch(r"-?[vzjJ]*t[vzjJ]*f?|-?t?[vzjJ]*tf", words[0]):
        return "only a plain listing of an archive is known to be read-only"
    if any(word.startswith("-") for word in words[1:]) or any(":" in word for word in words):
        return "only a plain listing of an archive is known to be read-only"
    return None


def _names_none(options: Options, operands: Sequence[str]) -> str | None:
    # `--files0-from=F` prints what F holds as names that do not exist; `--f` is short for it.
    listed = any(name.startswith("--f") for name, _ in options)
    return "it shows what is in a file that lists names" if listed else None


def _printf(options: Options, operands: Sequence[str]) -> str | None:
    if operands and re.search(r"%[^%a-zA-Z]*n", operands[0]):
        return "printf %n sets a variable"
    return None


def _test(options: Options, operands: Sequence[str]) -> str | None:
    # `test -v 'a[$(x)]'` runs x; files and strings do not.
    bad = [name for name, _ in options if name not in _TEST_OPERATORS]
    return f"test {bad[0]} may evaluate more than a file" if bad else None


_TEST_OPERATORS = _names(
    "-f -d -e -s -r -w -x -L -h -n -z -p -S -b -c -O -G -k -u -g -nt -ot -ef -eq -ne -lt -le -gt "
    "-ge -a"
)


def _version(*extra: str) -> ProgramSpec:
    """A program that may only be asked for its version."""
    allowed = {"--version", *extra}

    def check(options: Options, operands: Sequence[str]) -> str | None:
        if not operands and len(options) == 1 and options[0][0] in allowed:
            return None
        return "it may run anything; only printing its version is known to be read-only"

    return ProgramSpec(any_option=True, operands="text", check=check)


def _subcommand(allowed: str, options_pattern: str, *versions: str) -> ProgramSpec:
    """A program with a few read-only subcommands, whose options match a pattern."""

    def check(options: Options, operands: Sequence[str]) -> str | None:
        if not operands and len(options) == 1 and options[0][0] in versions:
            return None
        if not operands or operands[0] not in _names(allowed):
            return "it may run a script or change installed packages"
        bad = [name for name, _ in options if not re.fullmatch(options_pattern, name)]
        return f"{bad[0]} is not a known read-only option" if bad else None

    return ProgramSpec(any_option=True, operands="text", check=check)


def _one_of(needed: str, otherwise: str) -> Callable[[Options, Sequence[str]], str | None]:
    """A check that at least one of the options `needed` is given."""

    def check(options: Options, operands: Sequence[str]) -> str | None:
        return None if {name for name, _ in options} & _names(needed) else otherwise

    return check


_PIP = _subcommand(
    "list show freeze check inspect",
    r"-[fvlei]|--(files|verbose|local|user|all|not-required|include-editable|exclude-editable|"
    r"editable|format=(json|columns|freeze))",
    "--version",
    "-V",
)
_NPM = _subcommand(
    "ls list ll la root prefix",
    r"-[gal]|--(all|long|json|parseable|prod|dev|depth=\d+|global)",
    "--version",
    "-v",
)
_ANY_PATHS = ProgramSpec(any_option=True, number=True)
_ANY_NAMES = ProgramSpec(any_option=True, number=True, shows=False)
_ANY_TEXT = ProgramSpec(any_option=True, operands="text")

_RG = ProgramSpec(
    flags="aciFHhIlnNopqsSUuvVwxb0.P",
    valued="ABCEeMgjmrtTd",
    longs=_names(
        "--after-context --auto-hybrid-regex --binary --block-buffered --byte-offset "
        "--case-sensitive --column --context --count --count-matches --crlf --debug --files "
        "--files-with-matches --files-without-match --fixed-strings --glob-case-insensitive "
        "--heading --hidden --ignore-case --include-zero --invert-match --json --line-buffered "
        "--line-number --line-regexp --max-columns-preview --multiline --multiline-dotall "
        "--no-config --no-filename --no-heading --no-ignore --no-ignore-dot --no-ignore-exclude "
        "--no-ignore-files --no-ignore-global --no-ignore-parent --no-ignore-vcs --no-line-number "
        "--no-messages --no-mmap --no-unicode --null --null-data --one-file-system "
        "--only-matching --passthru --pcre2 --pretty --print0 --quiet --search-binary "
        "--smart-case --stats --text --trim --type-list --unrestricted --version --vimgrep "
        "--with-filename --word-regexp"
    ),
    valued_longs=_names(
        "--after-context --before-context --color --colors --context --context-separator "
        "--encoding --engine --glob --iglob --max-columns --max-count --max-depth --max-filesize "
        "--regexp --replace --sort --sortr --threads --type --type-not --path-separator"
    ),
    operands="pattern",
    reads_cwd=True,
    contents=True,
    pattern_options=frozenset({"-e", "--regexp", "--files", "--type-list"}),
)

_GREP = ProgramSpec(
    flags="EFGPabcHhILlnoqsTUuVvwxyzZir",
    valued="ABCDdem",
    longs=_names(
        "--extended-regexp --fixed-strings --basic-regexp --perl-regexp --text --byte-offset "
        "--count --with-filename --no-filename --files-without-match --files-with-matches "
        "--line-number --only-matching --quiet --silent --no-messages --initial-tab --invert-match "
        "--version --word-regexp --line-regexp --null-data --null --ignore-case --no-ignore-case "
        "--recursive --line-buffered --color --colour"
    ),
    valued_longs=_names(
        "--after-context --before-context --context --regexp --max-count --binary-files --devices "
        "--directories --include --exclude --exclude-dir --label --color --colour --group-separator"
    ),
    operands="pattern",
    number=True,
    contents=True,
    reads_cwd=True,
    pattern_options=frozenset({"-e", "--regexp"}),
)

READ_ONLY_PROGRAMS: dict[str, ProgramSpec] = {
    # reading files
    **dict.fromkeys(
        _names(
            "cat head nl cut comm join paste fold fmt expand unexpand rev tac od hexdump "
            "strings column cmp cksum sum md5sum sha1sum sha224sum sha256sum sha384sum sha512sum "
            "b2sum base64 base32"
        ),
        _ANY_PATHS,
    ),
    "tail": ProgramSpec(
        flags="qvz",
        valued="nc",
        longs=_names("--quiet --silent --verbose --zero-terminated"),
        valued_longs=_names("--lines --bytes"),
        number=True,
    ),
    "wc": ProgramSpec(any_option=True, number=True, shows=False, check=_names_none),
    "ls": ProgramSpec(any_option=True, reads_cwd=True, shows=False),
    "dir": ProgramSpec(any_option=True, reads_cwd=True, shows=False),
    "stat": _ANY_NAMES,
    "du": ProgramSpec(any_option=True, reads_cwd=True, shows=False, check=_names_none),
    "df": _ANY_NAMES,
    "tree": ProgramSpec(
        flags="adfighpsuDFNQAJXrtvSnC",
        valued="LPI",
        longs=_names(
            "--dirsfirst --noreport --gitignore --prune --du --si --inodes --device --filelimit "
            "--ignore-case --matchdirs --metafirst --version"
        ),
        valued_longs=_names("--filelimit --sort --charset"),
        reads_cwd=True,
        shows=False,
    ),
    "file": ProgramSpec(
        flags="bEhiIkLnNprsv0",
        longs=_names("--brief --mime --mime-type --mime-encoding --no-pad --version --keep-going"),
        shows=False,
    ),
    "diff": ProgramSpec(
        flags="qsceuypwbBiatrNEZTdnH",
        valued="UCIxWF",
        longs=_names(
            "--brief --report-identical-files --unified --context --side-by-side --show-c-function "
            "--ignore-all-space --ignore-space-change --ignore-blank-lines --ignore-case --text "
            "--recursive --new-file --minimal --no-dereference --suppress-common-lines --color"
        ),
        valued_longs=_names(
            "--unified --context --label --exclude --width --color --ignore-matching-lines"
        ),
        number=True,
        contents=True,
    ),
    "sort": ProgramSpec(
        flags="bdfgiMhnRrVcCmsuz",
        valued="kt",
        longs=_names(
            "--ignore-leading-blanks --dictionary-order --ignore-case --general-numeric-sort "
            "--ignore-nonprinting --month-sort --human-numeric-sort --numeric-sort --random-sort "
            "--reverse --version-sort --check --merge --stable --unique --zero-terminated"
        ),
        valued_longs=_names("--key --field-separator --sort"),
    ),
    "uniq": ProgramSpec(
        flags="cdDiuz",
        valued="fsw",
        longs=_names("--count --repeated --ignore-case --unique --zero-terminated"),
        valued_longs=_names("--skip-fields --skip-chars --check-chars"),
        most=1,
    ),
    "xxd": ProgramSpec(flags="abeiupE", valued="cglos", most=1),
    "tr": ProgramSpec(flags="cCdst", operands="text"),
    "basename": _ANY_TEXT,
    "dirname": _ANY_TEXT,
    "realpath": _ANY_NAMES,
    "readlink": _ANY_NAMES,
    "jq": ProgramSpec(
        flags="acCejMnrRSsj",
        longs=_names(
            "--arg --argjson --args --jsonargs --compact-output --raw-output --slurp "
            "--null-input --exit-status --sort-keys --tab --raw-input --join-output"
        ),
        valued_longs=_names("--indent"),
        operands="pattern",
    ),
    "sed": ProgramSpec(
        flags="nErsuz",
        valued="e",
        longs=_names("--quiet --silent --regexp-extended --separate --unbuffered --null-data"),
        valued_longs=_names("--expression"),
        operands="pattern",
        pattern_options=frozenset({"-e", "--expression"}),
        check=_sed,
    ),
    "awk": ProgramSpec(valued="F", operands="pattern", check=_awk),
    "gawk": ProgramSpec(valued="F", operands="pattern", check=_awk),
    "mawk": ProgramSpec(valued="F", operands="pattern", check=_awk),
    "tar": ProgramSpec(any_option=True, check=_tar),
    "unzip": ProgramSpec(flags="lvZ1", check=_one_of("-l -v -Z", "unzip writes files")),
    # searching
    "rg": _RG,
    "grep": _GREP,
    "egrep": _GREP,
    "fgrep": _GREP,
    "find": ProgramSpec(any_option=True, reads_cwd=True, shows=False, check=_find),
    "fd": ProgramSpec(
        flags="HIusgFap0q1",
        valued="dteEcSj",
        longs=_names(
            "--hidden --no-ignore --unrestricted --case-sensitive --ignore-case --glob --regex "
            "--fixed-strings --absolute-path --full-path --print0 --quiet"
        ),
        valued_longs=_names(
            "--max-depth --min-depth --exact-depth --type --extension --exclude --color --size "
            "--changed-within --changed-before --max-results"
        ),
        operands="pattern",
        reads_cwd=True,
        shows=False,
    ),
    # querying the system
    **dict.fromkeys(
        _names(
            "true false : pwd echo seq whoami id groups uname arch nproc uptime free tty "
            "which "
            "lscpu getconf locale printenv expr factor"
        ),
        _ANY_TEXT,
    ),
    "env": ProgramSpec(most=0),
    "xargs": ProgramSpec(most=0),
    "hostname": ProgramSpec(flags="fsiIdA", most=0),
    "date": ProgramSpec(
        flags="uR",
        valued="d",
        longs=_names("--utc --universal --rfc-email --iso-8601"),
        valued_longs=_names("--date --iso-8601 --rfc-3339"),
        operands="text",
        check=_date,
    ),
    "ps": _ANY_TEXT,
    "lsblk": _ANY_TEXT,
    "sleep": ProgramSpec(operands="text", most=1),
    "type": ProgramSpec(flags="aptPf", operands="text"),
    "printf": ProgramSpec(operands="text", check=_printf),
    "test": ProgramSpec(any_option=True, shows=False, check=_test),
    "[": ProgramSpec(any_option=True, shows=False, check=_test),
    "cd": ProgramSpec(most=1),
    "jobs": ProgramSpec(flags="lnprs", operands="text"),
    "command": ProgramSpec(
        flags="vV", operands="text", check=_one_of("-v -V", "command runs the program that follows")
    ),
    # package queries and versions
    "pip": _PIP,
    "pip3": _PIP,
    "npm": _NPM,
    **dict.fromkeys(("python", "python3"), _version("-V")),
    **dict.fromkeys(("node", "make", "php", "perl", "ruby", "gcc", "g++", "cc"), _version("-v")),
    **dict.fromkeys(("java", "javac"), _version("-version")),
    **dict.fromkeys(
        _names(
            "deno bun c++ clang clang++ cmake ninja lua mypy black ruff uv bash zsh curl wget "
            "docker "
            "psql sqlite3 shellcheck pandoc"
        ),
        _version(),
    ),
    "dpkg": ProgramSpec(
        flags="lLsS",
        longs=_names("--list --status --listfiles --search --version --get-selections"),
        operands="text",
        check=_one_of(
            "-l -L -s -S --list --status --listfiles --search --version --get-selections",
            "dpkg may change installed packages",
        ),
    ),
    "dpkg-query": ProgramSpec(flags="WlLsS", valued="f", operands="text"),
    "apt-cache": ProgramSpec(operands="text"),
}
"""Programs by base name. `git` has its own table."""

WRAPPERS: dict[str, ProgramSpec] = {
    "time": ProgramSpec(flags="p"),
    "timeout": ProgramSpec(flags="v", valued="ks", longs=_names("--foreground --preserve-status")),
    "nice": ProgramSpec(valued="n"),
    "command": ProgramSpec(),
    "builtin": ProgramSpec(),
    "nohup": ProgramSpec(),
    "stdbuf": ProgramSpec(valued="ioe"),
    "setsid": ProgramSpec(flags="cfw"),
    "ionice": ProgramSpec(valued="cn"),
    "chrt": ProgramSpec(),
    "exec": ProgramSpec(flags="cl", valued="a"),
    "sudo": ProgramSpec(flags="AbEHnPSi", valued="ugpC"),
    "doas": ProgramSpec(flags="n", valued="u"),
    "env": ProgramSpec(flags="i0", valued="uCS"),
    "xargs": ProgramSpec(flags="0rtpox", valued="nPILsdaE"),
    "busybox": ProgramSpec(),
    "watch": ProgramSpec(flags="tdcegx", valued="n"),
    "parallel": ProgramSpec(),
    "strace": ProgramSpec(flags="f", valued="eo"),
    "unbuffer": ProgramSpec(),
    "chroot": ProgramSpec(),
    "ssh": ProgramSpec(),
}
"""Programs that run the command that follows; rules that deny look through them."""

TRANSPARENT_WRAPPERS = frozenset({"time", "timeout", "nice"})
"""Wrappers without effects of their own: the command they run decides."""
