"""The cost of completing a name after `@` in a large repository, in a real terminal.

    python benchmarks/completion.py [--files 200000] [--plain] [--at DIRECTORY]

Makes a git repository with that many files (--plain: a directory without git; --at: in a directory
that is kept and used again), runs the interface in a pseudo-terminal and types names. The interface
logs when it offers which list, and with a ticker of 5 ms how long its loop was blocked; the same
ticker alone in a process shows what the machine adds. Prints one JSON object; times are in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORDS = re.findall(
    r"\w+",
    """
    account billing cache client config core data engine event export feature filter format graph
    handler index input job kernel layout list loader log manager map message metric model module
    network node order output parser payment plugin policy query queue reader record render report
    request response route schema search server session signal socket source state storage stream
    task template test token tool trace user vector view widget worker writer
    """,
)
TYPED = ["worker_loader_7", "srvtokn", "zzz", "billing_account", "paymentreportpy"]
TICK_S = 0.005
TICKER = f"""
import time
before = time.monotonic()
while True:
    time.sleep({TICK_S})
    now = time.monotonic()
    if now - before > {TICK_S} * 2:
        print(now, now - before - {TICK_S}, flush=True)
    before = now
"""
"""The same ticker alone in a process: what the machine itself takes."""


def make_repository(root: Path, files: int, *, git: bool) -> None:
    """So many small files, ten in twenty of them with definitions, in folders up to five deep."""
    chance = random.Random(7)
    endings = [".py"] * 7 + [".go"] * 3 + [".c", ".h", ".md", ".md", ".json", ".yaml", ".txt"]
    made = 0
    while made < files:
        parts = [chance.choice(WORDS) for _ in range(chance.randint(1, 5))]
        folder = root.joinpath(*parts[:-1], f"{parts[-1]}_{made}")
        folder.mkdir(parents=True)
        for number in range(min(40, files - made)):
            first, second = chance.choice(WORDS), chance.choice(WORDS)
            ending = chance.choice(endings)
            text = f"{first} {second}\n"
            if ending == ".py":
                text = f"class {first.title()}{made}:\n    def {second}(self): ...\n\n" * 4
            elif ending == ".go":
                text = f"package x\nfunc {first}{second}{made}() int {{ return 1 }}\n"
            (folder / f"{first}_{second}_{number}{ending}").write_text(text)
            made += 1
    (root / ".gitignore").write_text("ignored/\n")
    (root / "ignored").mkdir()
    for number in range(1_000):
        (root / "ignored" / f"worker_loader_7{number}.py").touch()
    if git:
        for command in ("init -q", "add -A", "-c user.name=a -c user.email=a@b commit -q -m x"):
            subprocess.run(["git", *command.split()], cwd=root, check=True)


def inside(log: Path) -> int:
    """The interface, with a session that does nothing, and what it does in `log`."""
    from laguna_agent.interfaces.tui.system import latency

    latency.tune()
    from tui_messages import open_session, settings

    from laguna_agent.interfaces.tui.app import LagunaApp

    with log.open("w", buffering=1) as out:

        class Measured(LagunaApp):
            def on_mount(self) -> None:
                offer = self.completion_list.offer

                def offered(word: str, choices: Any, note: str = "") -> None:
                    offer(word, choices, note)
                    what = {"word": word, "choices": len(choices), "note": note}
                    out.write(json.dumps({"at": time.monotonic(), **what}) + "\n")

                self.completion_list.offer = offered  # type: ignore[method-assign]
                self.ticker = asyncio.create_task(self.tick())

            async def tick(self) -> None:
                before = time.monotonic()
                while True:
                    await asyncio.sleep(TICK_S)
                    now = time.monotonic()
                    if (blocked := now - before - TICK_S) > TICK_S:
                        out.write(json.dumps({"at": now, "blocked": blocked}) + "\n")
                    before = now

        return Measured(settings, open_session=open_session).run() or 0


def measure(root: Path, log: Path) -> dict[str, Any]:
    """Type names in a repository, and look into the log of the interface."""
    from tui import Terminal

    os.chdir(root)
    machine = subprocess.Popen([sys.executable, "-c", TICKER], stdout=subprocess.PIPE, text=True)
    terminal = Terminal(sys.executable, os.fspath(HERE / "completion.py"), "--inside", str(log))
    terminal.until(b"scripted")
    terminal.drain(1.5)
    figures: dict[str, Any] = {"memory_before_mib": terminal.resident_mib()}

    written, seen = log.open(), list[dict[str, Any]]()

    def lines() -> list[dict[str, Any]]:
        seen.extend(json.loads(line) for line in written)
        return seen

    def offered(word: str, since: float, *, whole: bool, limit: float = 60) -> float:
        """Seconds until a list for `word` was offered, or the one after which no more comes."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            for line in lines():
                named = line.get("word") == word and line["at"] > since
                if named and not (whole and "reading" in line["note"]):
                    return float(line["at"] - since)
            terminal.drain(0.02)
        raise TimeoutError(word)

    begun = time.monotonic()
    terminal.type("@")
    figures["first_list_s"] = offered("@", begun, whole=False)
    figures["all_files_s"] = offered("@", begun, whole=True)
    painted, found = [], []
    for number, text in enumerate(TYPED):
        for length in range(1, len(text) + 1):
            since = time.monotonic()
            terminal.seen = b""
            terminal.type(text[length - 1])
            terminal.until(text[length - 1].encode(), 10)
            painted.append(time.monotonic() - since)
            found.append(offered("@" + text[:length], since, whole=False))
        if number == 0:
            figures["all_symbols_s"] = offered("@" + text, begun, whole=True)
        terminal.type("\x15")
        terminal.drain(0.3)
        terminal.type("@")
        terminal.drain(0.3)
    typed = time.monotonic()
    for text in TYPED:  # as fast as a terminal can pass it on
        terminal.type(text)
        terminal.drain(0.2)
        terminal.type("\x7f" * len(text))
        terminal.drain(0.2)
    terminal.drain(1)
    blocked = [line for line in lines() if "blocked" in line and line["at"] > begun]
    figures |= {
        "key_to_paint_median_s": statistics.median(painted),
        "key_to_paint_worst_s": max(painted),
        "key_to_list_median_s": statistics.median(found),
        "key_to_list_worst_s": max(found),
        "longest_block_s": max((line["blocked"] for line in blocked), default=0.0),
        "longest_block_typing_fast_s": max(
            (line["blocked"] for line in blocked if line["at"] > typed), default=0.0
        ),
        "blocks_over_50_ms": sum(line["blocked"] > 0.05 for line in blocked),
        "memory_after_mib": terminal.resident_mib(),
        "last_note": [line["note"] for line in lines() if line.get("note")][-1],
    }
    terminal.close()
    machine.terminate()
    assert machine.stdout is not None
    gaps = [(float(at), float(gap)) for at, gap in map(str.split, machine.stdout)]
    figures["machine_longest_block_s"] = max((gap for at, gap in gaps if at > begun), default=0.0)
    return figures


def main() -> int:
    """Measure, and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=200_000)
    options.add_argument("--plain", action="store_true")
    options.add_argument("--at", type=Path)
    options.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.inside is not None:
        return inside(chosen.inside)
    with tempfile.TemporaryDirectory(prefix="laguna-bench-") as home:
        os.environ["LAGUNA_HOME"] = os.path.join(home, "home")
        root = chosen.at or Path(home, "repository")
        if not root.exists():
            root.mkdir()
            make_repository(root, chosen.files, git=not chosen.plain)
        figures = measure(root.resolve(), Path(home, "log"))
    shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    sys.stdout.write(json.dumps({"files": chosen.files, **shown}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, os.fspath(HERE))
    sys.exit(main())
