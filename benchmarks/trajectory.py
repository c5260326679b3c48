"""The cost of many and long sessions: append, list, search, resume and run, as ratios and times.

    python benchmarks/trajectory.py [--events 1000000] [--sessions 10000] [--steps 500]

The steps are taken by the real loop on the tiny synthetic Laguna in a context of 8,192 tokens,
with replies written beforehand. 0 leaves a part out. Everything happens in a temporary directory,
which is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_TEXT = (
    "parser token cache engine retry socket schema policy sandbox render widget queue index "
    "template grammar session summary recall trajectory budget prefix decoder sampler scheduler"
)
WORDS = _TEXT.split()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--sessions", type=int, default=10_000)
    options.add_argument("--steps", type=int, default=500)
    arguments = options.parse_args()
    scratch = tempfile.mkdtemp(prefix="laguna-bench-")
    os.environ["LAGUNA_HOME"] = os.environ["XDG_RUNTIME_DIR"] = scratch
    figures: dict[str, float] = {}
    try:
        root = Path(scratch, "project")
        root.mkdir()
        if arguments.events:
            figures |= appending(root, arguments.events)
        if arguments.sessions:
            figures |= many(root, arguments.sessions)
        if arguments.steps:
            figures |= asyncio.run(working(Path(scratch, "long"), arguments.steps))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 0


def appending(root: Path, events: int) -> dict[str, float]:
    """Time of one append in a session of a thousand events and in one of `events`."""
    from laguna_agent.events import ToolFinished
    from laguna_agent.trajectory.store import Trajectory

    event = ToolFinished(call_id="a", name="read", ok=True, content="line of text\n" * 20)

    def batch(trajectory: Trajectory) -> float:
        start = time.perf_counter()
        for _ in range(500):
            trajectory.append(event)
        return (time.perf_counter() - start) / 500

    short, long = Trajectory.create(root), Trajectory.create(root)
    for _ in range(1_000):
        short.append(event)
    start = time.perf_counter()
    for _ in range(events):
        long.append(event)
    filled = time.perf_counter() - start
    # Both in turn, so that what else the machine does hits both; the best of many each.
    pairs = [(batch(short), batch(long)) for _ in range(30)]
    short_s, long_s = (min(column) for column in zip(*pairs, strict=True))
    figures = {
        "append_us_after_1k": round(short_s * 1e6, 2),
        f"append_us_after_{events}": round(long_s * 1e6, 2),
        "append_ratio": round(long_s / short_s, 3),
        "fill_s": round(filled, 1),
        "long_mb": round(long.path.stat().st_size / 1e6, 1),
    }
    long.close()
    start = time.perf_counter()
    again = Trajectory.open(long.path)
    figures["reopen_long_ms"] = round((time.perf_counter() - start) * 1e3, 2)
    middle = events // 2
    figures["one_event_of_long_ms"] = timed(lambda: next(again.events(middle)))
    again.close()
    short.close()
    shutil.rmtree(long.directory)
    return figures


def many(root: Path, sessions: int) -> dict[str, float]:
    """Listing and searching among many sessions, each with a memory."""
    import subprocess

    from laguna_agent.memory.memory_store import MemoryStore
    from laguna_agent.memory.recall import Recall
    from laguna_agent.trajectory.index import SessionIndex

    dice = random.Random(7)
    store = MemoryStore(root)
    start = time.perf_counter()
    for number in range(sessions):
        session(root, store, dice, number)
    figures = {"make_sessions_s": round(time.perf_counter() - start, 1)}
    start = time.perf_counter()
    with SessionIndex(root) as index:
        index.sessions(limit=50)
    figures["list_first_time_s"] = round(time.perf_counter() - start, 3)

    def listing() -> None:
        with SessionIndex(root) as index:
            index.sessions(limit=50)

    figures["list_ms"] = timed(listing)
    command = [sys.executable, "-m", "laguna_agent.cli", "sessions", "list", "-C", str(root)]
    figures["list_command_ms"] = timed(
        lambda: subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    )
    recall = Recall(root)
    start = time.perf_counter()
    recall.refresh()
    figures["index_first_time_s"] = round(time.perf_counter() - start, 1)
    queries = [
        " ".join(dice.sample(WORDS, 3)) + f" item{dice.randrange(sessions)}" for _ in range(50)
    ]
    figures["refresh_ms"] = timed(recall.refresh)
    figures["search_memories_ms"] = timed(lambda: recall.memories(dice.choice(queries)))
    figures["search_events_ms"] = timed(lambda: recall.events(dice.choice(queries)))
    figures["search_common_words_ms"] = timed(lambda: recall.events("parser token cache engine"))
    figures["search_answer_ms"] = timed(lambda: recall.answer(dice.choice(queries)))
    recall.close()
    command = [sys.executable, "-m", "laguna_agent.cli", "memory", "search", "-C", str(root)]
    figures["search_command_ms"] = timed(
        lambda: subprocess.run(
            [*command, dice.choice(queries)], check=False, stdout=subprocess.DEVNULL
        )
    )
    return figures


async def working(root: Path, steps: int) -> dict[str, float]:
    """Compare time and memory of the last hundred steps of a long run with the first hundred."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from support.forced import long_run

    run = await long_run(root, steps=steps)
    hundred = min(100, steps // 2)
    first, last = run.step_s[:hundred], run.step_s[-hundred:]
    system = run.session.conversation_state.system
    prefix = system.tokens if system is not None else 0
    exact = sum(
        usage.prefilled_tokens == usage.prompt_tokens - prefix and usage.reused_tokens == prefix
        for usage in run.first_usages
    )
    limit = run.session.conversation.limit
    await run.session.aclose()
    return {
        "steps": len(run.step_s),
        "compactions": len(run.compactions),
        "compactions_that_prefilled_exactly_the_new_epoch": exact,
        "context": limit,
        "most_tokens_ever": run.highest,
        "step_ms_first": round(statistics.mean(first) * 1e3, 1),
        "step_ms_last": round(statistics.mean(last) * 1e3, 1),
        "step_ratio": round(statistics.mean(last) / statistics.mean(first), 3),
        "step_median_ratio": round(statistics.median(last) / statistics.median(first), 3),
        "engine_memory_ratio": round(run.engine_kib[-1] / run.engine_kib[hundred], 3),
        "client_memory_ratio": round(run.client_kib[-1] / run.client_kib[hundred], 3),
        "client_mb": round(run.client_kib[-1] / 1024, 1),
    }


def session(root: Path, store: object, dice: random.Random, number: int) -> None:
    from laguna_agent.events import Reply, ToolCall, ToolFinished, TurnFinished, UserMessage
    from laguna_agent.memory.memory_store import MemoryStore
    from laguna_agent.memory.summaries import remember
    from laguna_agent.trajectory.store import Trajectory

    assert isinstance(store, MemoryStore)
    with Trajectory.create(root, session_id=f"260101-{number:06d}-aaaa") as trajectory:
        topic = dice.sample(WORDS, 4)
        text = f"Fix the {topic[0]} of item{number} so that the {topic[1]} is right"
        trajectory.append(UserMessage(text=text))
        for step in range(4):
            path = f"src/{topic[2]}_{number}.py"
            call = ToolCall(id=str(step), name="read", arguments={"path": path})
            trajectory.append(Reply(text=" ".join(dice.choices(WORDS, k=30)), tool_calls=[call]))
            content = " ".join(dice.choices(WORDS, k=120))
            trajectory.append(
                ToolFinished(call_id=str(step), name="read", ok=True, content=content)
            )
        trajectory.append(TurnFinished(status="done", summary=f"the {topic[3]} was wrong"))
        remember(store, trajectory)


def timed(call: Callable[[], object], times: int = 20) -> float:
    """Milliseconds, the median of some calls."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return round(statistics.median(spent) * 1e3, 2)


if __name__ == "__main__":
    raise SystemExit(main())
