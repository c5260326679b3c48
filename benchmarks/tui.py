"""What the terminal interface costs: first paint, a key while text streams, idling, long sessions.

    python benchmarks/tui.py [--quick]

Everything happens in temporary directories. Times are in seconds; ratios are to an empty Textual
app in the same terminal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import pexpect

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

EMPTY = """
from textual.app import App
from textual.widgets import Static
class Empty(App):
    def compose(self):
        yield Static("READY")
Empty().run()
"""


def first_paint(command: list[str], sign: bytes, times: int) -> float:
    """Median seconds from the process's start to the bytes `sign` on its terminal."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        child = pexpect.spawn(command[0], command[1:], dimensions=(30, 100), timeout=60,
                              env={**os.environ, "TERM": "xterm-256color"})  # fmt: skip
        child.expect_exact(sign)
        taken.append(time.perf_counter() - start)
        child.close(force=True)
    return statistics.median(taken)


def idle_share(seconds: float) -> float:
    """Share of a core that an idle interface takes, its model not there."""
    child = pexpect.spawn(sys.executable, ["-m", "laguna_agent.cli"], dimensions=(30, 100),
                          env={**os.environ, "TERM": "xterm-256color"}, timeout=60)  # fmt: skip
    child.expect_exact(b"Welcome")
    child.send("\x1b")
    time.sleep(3)
    before = _cpu(child.pid)
    time.sleep(seconds)
    share = (_cpu(child.pid) - before) / seconds
    child.close(force=True)
    return share


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def streaming(keys: int) -> float:
    """95th percentile of seconds from a key to its paint while 200 tokens a second stream."""
    from laguna_agent.events import TextDelta
    from support.scenes import SceneApp

    app, taken = SceneApp(), []
    async with app.run_test(size=(120, 40)) as pilot:
        app.prepare()
        done = False

        async def stream() -> None:
            number = 0
            while not done:
                number += 1
                end = "\n\n" if number % 60 == 0 else " "
                app.happen(TextDelta(text=f"word{number}{end}"))
                await asyncio.sleep(0.005)

        task = asyncio.create_task(stream())
        await asyncio.sleep(1)
        for _ in range(keys):
            start = time.perf_counter()
            await pilot.press("a")
            taken.append(time.perf_counter() - start)
            await asyncio.sleep(0.02)
        done = True
        await task
    return statistics.quantiles(taken, n=20)[18]


def long_session(events: int) -> dict[str, float]:
    """Seconds to read and draw the end of a session of so many events, and of a short one."""
    from laguna_agent.events import Reply, UserMessage
    from laguna_agent.interfaces.tui.past import read_page
    from laguna_agent.trajectory.store import Trajectory
    from support.scenes import SceneApp
    from support.sessions import started, system

    def measured(count: int) -> float:
        with tempfile.TemporaryDirectory() as folder, Trajectory.create(Path(folder)) as record:
            record.append(started(record.id, folder))
            record.append(system())
            for number in range(count // 2):
                record.append(UserMessage(text=f"question {number}"))
                record.append(Reply(text=f"**answer** {number}\n\n```python\nx = {number}\n```"))

            async def show() -> float:
                app = SceneApp()
                async with app.run_test(size=(120, 40)) as pilot:
                    app.prepare()
                    start = time.perf_counter()
                    entries, more = read_page(record.directory, record.last_seq + 1)
                    app.transcript.replace(entries, more_before=more)
                    await pilot.pause()
                    return time.perf_counter() - start

            return asyncio.run(show())

    measured(200)  # imports
    return {"open_long_s": measured(events), "open_short_s": measured(200)}


async def memory_growth(messages: int) -> float:
    """MiB that the second half of so many streamed messages adds to the interface's memory."""
    from laguna_agent.events import Reply, TextDelta
    from support.scenes import SceneApp

    app = SceneApp()
    async with app.run_test(size=(100, 30)) as pilot:
        app.prepare()
        middle = 0
        tracemalloc.start()
        for number in range(messages):
            if number == messages // 2:
                middle = tracemalloc.get_traced_memory()[0]
            text = f"message {number} " + "word " * 40
            app.ledger.take(TextDelta(text=text[:50]))
            app.ledger.take(Reply(text=text))
            if number % 50 == 0:
                await pilot.pause()
        grown = tracemalloc.get_traced_memory()[0] - middle
        tracemalloc.stop()
    return grown / (1 << 20)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer repetitions")
    quick = options.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="laguna-bench-") as home:
        os.environ["LAGUNA_HOME"] = home
        os.chdir(home)
        subprocess.run(["git", "init", "-q", "."], check=True)
        times = 3 if quick else 9
        empty = first_paint([sys.executable, "-c", EMPTY], b"READY", times)
        own = first_paint([sys.executable, "-m", "laguna_agent.cli"], b"commands", times)
        figures = {
            "first_paint_s": own,
            "first_paint_of_empty_app_s": empty,
            "first_paint_ratio": own / empty,
            "key_to_paint_p95_s": asyncio.run(streaming(40 if quick else 200)),
            "idle_share_of_a_core": idle_share(5 if quick else 30),
            **long_session(20_000),
            "memory_growth_mib": asyncio.run(memory_growth(2_000 if quick else 10_000)),
        }
    sys.stdout.write(json.dumps({k: round(v, 4) for k, v in figures.items()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
