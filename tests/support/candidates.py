"""A scripted model that also writes variations and several replies at a time, and a task for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

from laguna_agent.events import ModelEvent, Reply, Usage
from laguna_agent.models.conversation import (
    Completed,
    Completion,
    GenerateOptions,
    Sampling,
    Variation,
)
from support.scripted import ScriptedConversation, call

WRONG = '"""Sums."""\n\n\ndef add(a, b):\n    # add them\n    return a - b\n'
RIGHT = WRONG.replace("a - b", "a + b")
TEST = "from calc import add\n\nassert add(2, 2) == 4, add(2, 2)\n"
TASK = "Fix calc.py so that `python3 test_calc.py` passes."


class Writer(ScriptedConversation):
    """A scripted model that also writes variations and several replies at a time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.varied: list[str] = []
        """What it makes of any text, the likeliest first."""
        self.variations_asked: list[Variation] = []
        self.rounds: list[list[Reply]] = []
        self.samplings: list[list[Sampling]] = []
        self.prompts: list[str] = []
        """What it was to continue, each time that it wrote several replies."""
        self.bodies: list[list[str]] = []
        """What it goes on with from a head, for each time that it is asked."""
        self.completed: list[Completion] = []
        self.completed_with: list[list[Sampling]] = []
        self.fails: Exception | None = None
        """What it raises instead."""

    async def variations(
        self, variation: Variation, on_event: Callable[[ModelEvent], None]
    ) -> tuple[list[str], Usage]:
        if self.fails is not None:
            raise self.fails
        self.variations_asked.append(variation)
        some = self.varied[variation.first : variation.first + variation.count]
        return some, Usage(completion_tokens=10 * len(some))

    async def complete(
        self,
        completion: Completion,
        samplings: Sequence[Sampling],
        on_event: Callable[[ModelEvent], None],
        on_text: Callable[[str], None],
    ) -> list[Completed]:
        if self.fails is not None:
            raise self.fails
        self.completed.append(completion)
        self.completed_with.append(list(samplings))
        bodies = self.bodies[min(len(self.completed), len(self.bodies)) - 1]
        return [
            Completed(
                completion.begins + body,
                "stop" if body.rstrip().endswith("```") else "length",
                sampling,
                Usage(completion_tokens=20),
            )
            for body, sampling in zip(bodies, samplings, strict=False)
        ]

    async def candidates(
        self, options: GenerateOptions, samplings: Sequence[Sampling]
    ) -> AsyncGenerator[ModelEvent, None]:
        if self.fails is not None:
            raise self.fails
        self.samplings.append(list(samplings))
        self.prompts.append(self.prompt)
        replies = self.rounds[min(len(self.samplings), len(self.rounds)) - 1]
        for reply in replies:
            copy = reply.model_copy(deep=True)
            copy.usage = Usage(completion_tokens=20)
            yield copy


def fill(root: Path) -> Path:
    """A repository with a wrong function and a test of it."""
    root.mkdir()
    (root / "calc.py").write_text(WRONG)
    (root / "test_calc.py").write_text(TEST)
    return root


def written(expression: str, path: str = "calc.py") -> Reply:
    """A reply that writes the function so."""
    return call("write", path=path, content=WRONG.replace("a - b", expression))


def repaired(*expressions: str) -> list[str]:
    """Variations of the line with the mistake, cut after it."""
    before = WRONG[: WRONG.index("    return")]
    return [f"{before}    return {expression}\n" for expression in expressions]
