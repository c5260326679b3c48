"""How many tokens of a prompt are decoded at once: learnt from the first prompts, at no cost.

Half a micro-batch is often as fast as a whole one, and then better: progress is reported twice as
often. Which is faster depends on the model and the machine, so the first batches of real prompts
are decoded in both sizes, in an order in which the growing depth favours neither.
"""

from __future__ import annotations

from collections.abc import Callable

_ORDER = (0, 1, 1, 0)
_RATED = 64
"""Tokens from which on a batch predicts the rate of the next one."""
_AS_GOOD = 0.99
"""Share of the whole micro-batch's rate from which on the half is chosen."""


class BatchSizer:
    """Sizes of the batches of a prompt, in tokens. `chosen` is 0 while the size is being learnt."""

    def __init__(
        self,
        largest: int,
        chosen: int = 0,
        on_learned: Callable[[int], None] = lambda _: None,
        rate: float = 0.0,
    ) -> None:
        self.largest = largest
        self.rate = rate
        """Tokens per second expected of the next batch; 0 before anything was measured."""
        self.chosen = chosen
        self._on_learned = on_learned
        self._sizes = (largest, largest // 2)
        self._seconds = [0.0, 0.0]
        self._timed = 0

    def size(self) -> int:
        """The size of the next batch."""
        return self.chosen or self._sizes[_ORDER[self._timed]]

    def record(self, tokens: int, seconds: float) -> None:
        """Note how long a batch took. One that was cut short says nothing about the best size."""
        if tokens >= _RATED and seconds > 0:
            self.rate = tokens / seconds
        if self.chosen or tokens != self.size() or seconds <= 0:
            return
        self._seconds[_ORDER[self._timed]] += seconds / tokens
        self._timed += 1
        if self._timed == len(_ORDER):
            whole, half = self._seconds
            self.chosen = self._sizes[1 if half * _AS_GOOD <= whole else 0]
            self._on_learned(self.chosen)
