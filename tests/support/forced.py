"""A long run of the real loop on the real engine with scripted replies.

Only the choice of words is forced: a grammar that allows one text holds each reply to the script,
so the tokens are drawn, decoded and kept as always. Summaries are the model's own.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laguna_agent.agent.model_loading import LoadedModel
from laguna_agent.agent.session import Session
from laguna_agent.agent.settings import Settings
from laguna_agent.config import EngineConfig, load_config
from laguna_agent.events import Compacted, Event, Reply, StepStarted, TurnFinished, Usage
from laguna_agent.models.chat.chat_format import Grammar, Segment
from laguna_agent.models.chat.gbnf import literal
from laguna_agent.models.chat.laguna import LagunaFormat
from laguna_agent.models.conversation import ModelInfo
from laguna_agent.models.engine.client import EngineClient, open_engine
from laguna_agent.models.engine.interface import EngineEvent, EngineModel, EngineRequest
from laguna_agent.models.local_conversation import LocalConversation
from laguna_agent.prompts.loader.pack import load_pack
from support.scripted import open_watched, take
from support.synthetic import tiny_laguna

STEPS = int(os.environ.get("LAGUNA_TEST_STEPS", "90"))
"""Of the longest runs in the suite; a soak takes 500."""
FACTS = 40
COLOURS = "amber birch cedar delta ember fjord grove heron ivory jade".split()  # noqa: SIM905 - shorter
THINGS = ("port", "timeout", "bucket", "branch")
WORDS = "parser cache retry socket schema policy widget queue index session".split()  # noqa: SIM905 - shorter


class ForcedEngine:
    """An engine that writes what a script gives, except for summaries."""

    def __init__(self, engine: EngineClient, script: Callable[[], str]) -> None:
        self._engine, self._script = engine, script

    @property
    def model(self) -> EngineModel:
        return self._engine.model

    @property
    def process(self) -> subprocess.Popen[bytes]:
        process = self._engine.process
        assert process is not None
        return process

    async def tokenize(self, segments: Sequence[Segment]) -> list[int]:
        return await self._engine.tokenize(segments)

    async def detokenize(self, ids: Sequence[int]) -> str:
        return await self._engine.detokenize(ids)

    async def generate(self, request: EngineRequest) -> AsyncIterator[EngineEvent]:
        if request.grammar is None or "Goal:" not in request.grammar.gbnf:
            request.grammar = Grammar(f"root ::= {literal(self._script())}\n")
        async for event in self._engine.generate(request):
            yield event

    async def aclose(self) -> None:
        await self._engine.aclose()


def called(name: str, text: str = "", **arguments: str) -> str:
    """A reply in Laguna's own format that makes one call."""
    pairs = "".join(
        f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n"
        for key, value in arguments.items()
    )
    return f"{text}\n<tool_call>{name}\n{pairs}</tool_call>"


async def open_forced(
    workspace: Path, script: Callable[[], str], *, context: int, flags: dict[str, Any], **more: Any
) -> Session:
    """A session on the tiny Laguna that writes what `script` gives. The caller closes it."""
    config = EngineConfig(context=context, micro_batch=128, keep_alive=0, threads=1)
    engine = await open_engine(tiny_laguna(), config=config)
    info = ModelInfo(
        name="tiny", format="laguna", context=engine.model.context, sha256=engine.model.sha256
    )

    async def load(config: Any, *, session: str, **_: Any) -> LoadedModel:
        talk = LocalConversation(ForcedEngine(engine, script), LagunaFormat("v4"), info, session)
        return LoadedModel(talk, info, load_pack("laguna", model_name="tiny"))

    settings = Settings(
        cwd=workspace,
        config=load_config(flags={"thinking": False, **flags}),
        mode="auto",
        **more,
    )
    return await open_watched(settings, load=load)


@dataclass
class Fact:
    """Something that is in one file only, and a question about it."""

    question: str
    sentence: str
    step: int


@dataclass
class LongRun:
    """The figures of a run of many steps. Times in seconds, memory in KiB."""

    session: Session
    facts: list[Fact]
    messages: list[str] = field(default_factory=list)
    """The user's messages."""
    finished: TurnFinished | None = None
    usages: list[Usage] = field(default_factory=list)
    """Of every reply. The events themselves are not kept: the run's own memory is measured."""
    step_s: list[float] = field(default_factory=list)
    client_kib: list[int] = field(default_factory=list)
    engine_kib: list[int] = field(default_factory=list)
    compactions: list[Compacted] = field(default_factory=list)
    """Without their texts and tokens."""
    first_message: str = ""
    """The first message of the last epoch."""
    first_usages: list[Usage] = field(default_factory=list)
    """Of the first reply of each epoch after the first."""
    steered_tokens: list[int] = field(default_factory=list)
    """Tokens of steering messages between a compaction and that reply."""
    summaries: list[Reply] = field(default_factory=list)
    """Replies that were summaries, without their texts and tokens."""
    highest: int = 0
    """Most tokens that the prompt ever had."""


def make_workspace(root: Path, steps: int, seed: int) -> list[Fact]:
    """A repository with a file for each step; forty of them at most hold a fact."""
    dice = random.Random(seed)
    places = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
    numbers = sorted(dice.sample(range(steps - 1), min(FACTS, steps - 1)))
    chosen = dict(zip(numbers, places, strict=False))
    facts = []
    (root / "src").mkdir(parents=True)
    for number in range(steps):
        text = [f"{' '.join(dice.choices(WORDS, k=6))} = {number}" for _ in range(8)]
        if number in chosen:
            value = f"v{dice.randrange(10**6):06d}"
            sentence = f"The {chosen[number]} has the value {value}."
            text.insert(dice.randrange(8), f"# {sentence}")
            facts.append(Fact(f"What is the value of the {chosen[number]}?", sentence, number))
        (root / "src" / f"f{number}.py").write_text("\n".join(text) + "\n")
    return facts


async def long_run(
    root: Path, *, steps: int = 500, context: int = 8_192, seed: int = 11
) -> LongRun:
    """Read a file a step, with a steering message now and then, to a `done` at the end."""
    facts = make_workspace(root, steps, seed)
    numbers = iter(range(steps))

    def script() -> str:
        number = next(numbers)
        if number == steps - 1:
            return called("done", summary="All of it is read.")
        return called("read", f"Now file {number}.", path=f"src/f{number}.py")

    session = await open_forced(
        root, script, context=context, flags={"limits": {"steps": steps + 10}}
    )
    run = LongRun(session, facts)
    task = "Read every file under src; never change tests/golden.txt."
    run.messages.append(task)
    forced = session.conversation._engine  # type: ignore[attr-defined]  # of this conversation
    engine = forced.process.pid
    clock, used, waiting = 0.0, 0, False

    def watch(event: Event) -> None:
        nonlocal clock, used, waiting
        run.highest = max(run.highest, session.conversation.used)
        if isinstance(event, StepStarted):
            used = session.conversation.used
            now = time.perf_counter()
            if clock:
                run.step_s.append(now - clock)
            clock = now
            run.client_kib.append(resident_kib(os.getpid()))
            run.engine_kib.append(resident_kib(engine))
            if event.step % 25 == 12:
                text = f"Also mind rule {event.step}: keep it {'very ' * (event.step % 7)}small."
                session.steer(text)
                run.messages.append(text)
        elif isinstance(event, Compacted):
            run.first_message = event.opening
            bare = {"opening": "", "summary": "", "token_ids": None}
            run.compactions.append(event.model_copy(update=bare))
            waiting = True
        elif isinstance(event, Reply):
            run.usages.append(event.usage)
            if event.text.startswith("Goal:"):
                run.summaries.append(Reply(usage=event.usage, miss=event.miss))
            elif waiting:
                run.first_usages.append(event.usage)
                run.steered_tokens.append(used - run.compactions[-1].tokens_after)
                waiting = False
        elif isinstance(event, TurnFinished):
            run.finished = event
            run.step_s.append(time.perf_counter() - clock)

    await take(session, task, watch=watch)
    return run


def resident_kib(pid: int) -> int:
    """Memory of a process, without what is mapped from files."""
    for line in Path(f"/proc/{pid}/status").read_text().split("\n"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0
