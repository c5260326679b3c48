"""How much of a prompt is decoded at once: learnt from the first prompts, at no cost.

Half a micro-batch is often as fast as a whole one. It then is the better choice: progress is told
twice as often. Which it is depends on the model and the machine, so the first steps of real
prompts are taken in both sizes, in an order in which the growing depth favours neither.
"""

from __future__ import annotations

from collections.abc import Callable

_ORDER = (0, 1, 1, 0)
_TELLING = 64
"""Tokens from which on a step tells the rate of the next one."""
_AS_GOOD = 0.99
"""Share of the whole one's rate at which the half is taken."""


class Steps:
    """Sizes of the steps of a prompt, in tokens. `chosen` is 0 while that is being learnt."""

    def __init__(
        self,
        largest: int,
        chosen: int = 0,
        learned: Callable[[int], None] = lambda _: None,
        rate: float = 0.0,
    ) -> None:
        self.largest = largest
        self.rate = rate
        """Tokens per second to expect of the next step, from what was measured or seen; 0 before
        anything was."""
        self.chosen = chosen
        self._learned = learned
        self._sizes = (largest, largest // 2)
        self._seconds = [0.0, 0.0]
        self._taken = 0

    def size(self) -> int:
        """The size of the next step."""
        return self.chosen or self._sizes[_ORDER[self._taken]]

    def took(self, tokens: int, seconds: float) -> None:
        """Tell how long a step took; steps that were cut short teach nothing of the best size."""
        if tokens >= _TELLING and seconds > 0:
            self.rate = tokens / seconds
        if self.chosen or tokens != self.size() or seconds <= 0:
            return
        self._seconds[_ORDER[self._taken]] += seconds / tokens
        self._taken += 1
        if self._taken == len(_ORDER):
            whole, half = self._seconds
            self.chosen = self._sizes[1 if half * _AS_GOOD <= whole else 0]
            self._learned(self.chosen)
