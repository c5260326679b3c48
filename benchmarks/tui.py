"""The cost of the terminal interface, measured on the bytes of a pseudo-terminal.

    python benchmarks/tui.py [--quick] [NAME...]

NAME is first-paint, keys, idle, long-session or memory; all of them without one. Everything happens
in temporary directories, with a server process that streams in the place of a model. Times are in
seconds; ratios are to an empty Textual app in the same terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

EMPTY = """
from textual.app import App
from textual.widgets import Static
class Empty(App):
    def compose(self):
        yield Static("READY")
Empty().run()
"""
LAGUNA = (sys.executable, "-m", "laguna_agent.cli")
MODEL = ("--model", "bench/server")


class Terminal:
    """A program in a terminal, and the bytes that it writes there."""

    def __init__(self, *command: str, size: tuple[int, int] = (120, 40)) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        # As it is installed: compiled once.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.start = time.perf_counter()
        self.child = pexpect.spawn(
            command[0], list(command[1:]), dimensions=(size[1], size[0]), env=environment
        )
        self.fd = self.child.child_fd
        self.seen = b""

    def read(self, seconds: float) -> bool:
        """Wait so long for output; whether there was some."""
        if not select.select([self.fd], [], [], max(0.0, seconds))[0]:
            return False
        with contextlib.suppress(OSError):
            self.seen = self.seen[-20_000:] + os.read(self.fd, 1 << 16)
            return True
        return False

    def drain(self, seconds: float) -> None:
        """Read for so long."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(left)

    def until(self, sign: bytes, limit: float = 60) -> float:
        """Read until `sign` is written; returns when."""
        end = time.perf_counter() + limit
        while sign not in self.seen:
            if time.perf_counter() > end:
                raise TimeoutError(f"{sign!r} was not shown:\n{self.seen[-2000:]!r}")
            self.read(end - time.perf_counter())
        return time.perf_counter()

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.fd, text.encode())

    def press(self, key: str) -> float:
        """Seconds from pressing a key, of a character that is nowhere else, to its paint."""
        self.seen = b""
        begin = time.perf_counter()
        self.type(key)
        return self.until(key.encode(), 10) - begin

    def processor_s(self) -> float:
        """Processor time that the program has taken."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Memory that the program holds."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def close(self) -> None:
        """End the program."""
        self.child.close(force=True)


@contextlib.contextmanager
def laguna(*arguments: str, size: tuple[int, int] = (120, 40)) -> Iterator[Terminal]:
    """The interface, its session ready."""
    terminal = Terminal(*LAGUNA, *MODEL, *arguments, size=size)
    try:
        terminal.until(b"bench/server")
        terminal.drain(0.5)
        yield terminal
    finally:
        terminal.close()


def first_paint(quick: bool) -> dict[str, float]:
    """From the process's start to the first paint, turn about with an empty Textual app."""
    taken: dict[str, list[float]] = {"own": [], "empty": []}
    for _ in range(4 if quick else 16):
        for name, command, sign in (
            ("empty", (sys.executable, "-c", EMPTY), b"READY"),
            ("own", LAGUNA, b"commands"),
        ):
            terminal = Terminal(*command, size=(100, 30))
            taken[name].append(terminal.until(sign) - terminal.start)
            terminal.close()
    # The first of each reads files that are not in memory yet.
    own, empty = (statistics.median(taken[name][1:]) for name in ("own", "empty"))
    return {"first_paint_s": own, "empty_app_s": empty, "first_paint_ratio": own / empty}


def keys(quick: bool) -> dict[str, float]:
    """95th percentile from a key to its paint: idle, and while 200 tokens a second stream."""
    found: dict[str, float] = {}
    count = 40 if quick else 200
    with laguna() as terminal:
        found["key_idle_p95_s"], _ = _pressed(terminal, count)
    for kind in ("prose", "code"):
        with laguna() as terminal:
            terminal.type(f"stream {kind} 200 {count * 0.16 + 12}\r")
            terminal.drain(5)  # so that there is something to scroll
            before, begin = terminal.processor_s(), time.perf_counter()
            p95, worst = _pressed(terminal, count)
            share = (terminal.processor_s() - before) / (time.perf_counter() - begin)
            if b"tokens/s" not in terminal.seen:
                terminal.until(b"tokens/s", 2)  # it must still stream
            found[f"key_while_{kind}_streams_p95_s"] = p95
            found[f"key_while_{kind}_streams_worst_s"] = worst
            found[f"{kind}_streams_share_of_a_core"] = share
    return found


def _pressed(terminal: Terminal, count: int) -> tuple[float, float]:
    """95th percentile and maximum of key presses, at every moment of a frame."""
    taken = []
    for number in range(count):
        taken.append(terminal.press(chr(0x100 + number)))
        terminal.drain(0.05 + 0.013 * (number % 9))
        if number % 60 == 59:
            terminal.type("\x15")
            terminal.drain(0.1)
    terminal.type("\x15")
    terminal.drain(1)  # so that no draft is kept for the next one
    return statistics.quantiles(taken, n=20)[18], max(taken)


def idle(quick: bool) -> dict[str, float]:
    """Share of a core that an idle interface takes, with its session there."""
    with laguna() as terminal:
        terminal.drain(3)
        before, seconds = terminal.processor_s(), 10 if quick else 60
        terminal.drain(seconds)
        return {"idle_share_of_a_core": (terminal.processor_s() - before) / seconds}


def long_session(quick: bool) -> dict[str, float]:
    """Opening a session of 20,000 events, by the process's start and by /resume."""
    from laguna_agent.events import Reply, UserMessage
    from laguna_agent.trajectory.store import Trajectory
    from support.sessions import started, system

    found: dict[str, float] = {}
    for count, name in ((200, "short"), (20_000, "long")):
        with Trajectory.create(Path.cwd()) as record:
            record.append(started(record.id, os.fspath(Path.cwd())))
            record.append(system())
            for number in range(count // 2 - 1):
                record.append(UserMessage(text=f"question {number}"))
                record.append(Reply(text=f"**answer** {number}\n\n```python\nx = {number}\n```"))
        sign = f"question {count // 2 - 2}".encode()
        started_s, resumed_s = [], []
        for _ in range(2 if quick else 5):
            terminal = Terminal(*LAGUNA, *MODEL, "--resume", record.id)
            started_s.append(terminal.until(sign) - terminal.start)
            terminal.close()
            with laguna() as terminal:
                terminal.type(f"/resume {record.id}")
                terminal.drain(0.5)
                terminal.seen = b""
                begin = time.perf_counter()
                terminal.type("\r")
                resumed_s.append(terminal.until(sign) - begin)
                if name == "long":
                    found["key_in_long_session_p95_s"], _ = _pressed(terminal, 20)
        found[f"{name}_session_from_start_s"] = statistics.median(started_s)
        found[f"{name}_session_resumed_s"] = statistics.median(resumed_s)
    return found


def memory(quick: bool) -> dict[str, float]:
    """Resident MiB after each number of streamed messages."""
    found: dict[str, float] = {}
    terminal = Terminal(sys.executable, str(HERE / "tui_messages.py"))
    terminal.until(b"scripted")
    sent = 0
    for total in (500, 1_000, 2_000) if quick else (1_000, 2_500, 5_000, 7_500, 10_000):
        terminal.seen = b""
        terminal.type(f"{total - sent}\r")
        terminal.until(b"that was all", 300)
        terminal.drain(2)
        found[f"resident_after_{total}_messages_mib"] = terminal.resident_mib()
        sent = total
    terminal.close()
    return found


MEASURES: dict[str, Callable[[bool], dict[str, float]]] = {
    "first-paint": first_paint,
    "keys": keys,
    "idle": idle,
    "long-session": long_session,
    "memory": memory,
}


def main() -> int:
    """Measure, and print one JSON object."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer repetitions")
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASURES))
    chosen = options.parse_args()
    figures: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="laguna-bench-") as home,
        subprocess.Popen(
            [sys.executable, str(HERE / "streaming_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as server,
    ):  # fmt: skip
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        os.environ["LAGUNA_HOME"] = os.path.join(home, "home")
        os.environ["PYTHONPYCACHEPREFIX"] = os.path.join(home, "compiled")
        config = Path(home, "home", "config", "config.toml")
        config.parent.mkdir(parents=True)
        config.write_text(f'[providers.bench]\nurl = "{url}"\ncontext = 32768\n')
        for name in chosen.names or MEASURES:
            repository = Path(home, name)
            repository.mkdir()
            os.chdir(repository)
            subprocess.run(["git", "init", "-q", "."], check=True)
            figures |= MEASURES[name](chosen.quick)
        server.terminate()
        os.chdir("/")
    sys.stdout.write(json.dumps({k: round(v, 4) for k, v in figures.items()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
