"""The driver inside bash: a loop that reads commands and sends reports on its own descriptors.

Commands arrive on one inherited pipe and reports leave on another, so that a command's input and
output cannot be mistaken for either. Two shells are nested: the keeper starts the inner shell,
which runs the commands, and starts another when it ends (`exit`, `exec`, `set -e`, a kill) inside
the same sandbox, so that background jobs survive.

Programs inherit the descriptor of the reports. So a report begins with NUL and a secret that the
shells alone know, and whatever else is written there is skipped; its fields end with NUL:

    B nonce                              a command begins
    R nonce status jobs cwd exports      a command has ended (or, with `hello`, the shell is ready)
    S nonce status jobs cwd state        the inner shell exits; its variables and functions
    D status                             the inner shell has ended
"""

from __future__ import annotations

from dataclasses import dataclass

REPORT_FD = 230
COMMAND_FD = 231
HELLO = "hello"

_INNER = (
    f'IFS= builtin read -rd "" -u {COMMAND_FD} __laguna_driver && builtin eval "$__laguna_driver"'
)

KEEPER = (
    f'trap : TERM INT HUP; IFS= read -rd "" -u {COMMAND_FD} secret || exit; while :; do '
    f"LAGUNA_SHELL=$1:shell \"$BASH\" --norc --noprofile -c '{_INNER}' bash; "
    f"printf '\\0%s\\0D\\0%s\\0' \"$secret\" $? >&{REPORT_FD}; "
    f'IFS= read -rd "" -u {COMMAND_FD} go || exit; done'
)
"""For `bash -c KEEPER bash MARK`. It reads the secret first, and after each `D` it waits for any
field before it continues."""

_FUNCTIONS = (
    "__laguna_report() { { builtin printf '\\0%s\\0%s\\0%s\\0%s\\0' "
    '"$__laguna_secret" "$1" "$__laguna_nonce" "$2"; '
    "builtin jobs -rp; builtin printf '\\0'; builtin pwd || :; builtin printf '\\0'; "
    f"\"$3\"; builtin printf '\\0'; }} >&{REPORT_FD} 2>/dev/null; }}; "
    "__laguna_hello() { [[ ! -d $__laguna_pipes ]] || builtin printf visible; }; "
    "__laguna_exports() { builtin export -p; }; "
    "__laguna_state() { builtin declare -p; builtin declare -f; builtin alias -p; } ; "
)

# All on one line, so that the line numbers of bash's messages are those of the command.
_LOOP = (
    "trap '__laguna_report S $? __laguna_state' EXIT; trap 'builtin exit 143' TERM; "
    "set -m +H; unset HISTFILE; __laguna_busy=; __laguna_status=0; __laguna_nonce=" + HELLO + "; "
    "__laguna_report R $$ __laguna_hello; "
    # `break` or `continue` in a command acts on these loops, and the report is still sent.
    "while :; do while :; do "
    "if [[ $__laguna_busy ]]; then __laguna_busy=; "
    '__laguna_report R "$__laguna_status" __laguna_exports; fi; '
    f"IFS= builtin read -rd '' -u {COMMAND_FD} __laguna_nonce || builtin exit 0; "
    f"IFS= builtin read -rd '' -u {COMMAND_FD} LAGUNA_SHELL || builtin exit 0; "
    f"IFS= builtin read -rd '' -u {COMMAND_FD} __laguna_pipe || builtin exit 0; "
    f"IFS= builtin read -rd '' -u {COMMAND_FD} __laguna_command || builtin exit 0; "
    "builtin export LAGUNA_SHELL; __laguna_busy=1; __laguna_status=0; "
    f'builtin printf \'\\0%s\\0B\\0%s\\0\' "$__laguna_secret" "$__laguna_nonce" >&{REPORT_FD}; '
    "if [[ -p $__laguna_pipe ]]; then "
    'builtin eval "$__laguna_command" 0</dev/null 1>"$__laguna_pipe" 2>&1 '
    f"{COMMAND_FD}<&-; __laguna_status=$?; "
    "else "
    f'builtin eval "$__laguna_command" 0</dev/null {COMMAND_FD}<&-; __laguna_status=$?; '
    "fi; done; done"
)


def driver(state: str, cwd: str, pipes: str, secret: str) -> str:
    """The script for the inner shell; it first restores `state`, from an `S` or `R` report.

    The hello report says `visible` if the directory `pipes` is visible in the sandbox.
    """
    text = ""
    if state:
        text += f"builtin eval {quote(state)} 2>/dev/null; "
    text += f"builtin cd -- {quote(cwd)} 2>/dev/null; __laguna_pipes={quote(pipes)}; "
    text += f"__laguna_secret={secret}; "
    return text + _FUNCTIONS + _LOOP


def quote(text: str) -> str:
    """Quote text as one word for bash without newlines, which would count as driver lines."""
    plain = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{plain}'"


@dataclass(frozen=True)
class ShellReport:
    """A report of the driver. The `status` of a hello is the shell's own pid, as it sees it."""

    kind: str
    nonce: str
    status: int
    jobs: tuple[int, ...] = ()
    cwd: str = ""
    state: str = ""


_FIELDS = {b"R": 6, b"S": 6, b"B": 2, b"D": 2}
_REPORT_LIMIT = 1 << 23


class ReportParser:
    """Parses bytes into reports, and skips whatever does not begin with the secret."""

    def __init__(self, secret: str) -> None:
        self._start = b"\0" + secret.encode() + b"\0"
        self._data = b""

    def feed(self, data: bytes) -> list[ShellReport]:
        """The reports that are complete now."""
        self._data += data
        reports = []
        while (at := self._data.find(self._start)) >= 0:
            begin = at + len(self._start)
            # Where the next report begins, this one ends, whole or cut.
            end = self._data.find(self._start, begin - 1)
            text = self._data[begin:end] if end >= 0 else self._data[begin:]
            kind, known, _ = text.partition(b"\0")
            fields = text.split(b"\0", _FIELDS.get(kind, 0))
            if kind in _FIELDS and len(fields) == _FIELDS[kind] + 1:
                self._data = fields.pop() + (self._data[end:] if end >= 0 else b"")
                report = _report([field.decode("utf-8", "surrogateescape") for field in fields])
                reports += [report] if report is not None else []
            elif end >= 0 or (known and kind not in _FIELDS) or len(text) > _REPORT_LIMIT:
                self._data = self._data[at + 1 :]
            else:
                return reports
        self._data = self._data[-len(self._start) + 1 :]
        return reports


def _report(fields: list[str]) -> ShellReport | None:
    try:
        if fields[0] == "B":
            return ShellReport("B", fields[1], 0)
        if fields[0] == "D":
            return ShellReport("D", "", int(fields[1]))
        kind, nonce, status, jobs, cwd, state = fields
        pids = tuple(int(word) for word in jobs.split())
        return ShellReport(kind, nonce, int(status), pids, cwd.removesuffix("\n"), state)
    except ValueError:
        return None
