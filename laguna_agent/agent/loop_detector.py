"""Watches for work that goes in circles: the same call again, or a cycle of a few calls.

What counts as the same is the call and what came back, so that running the tests again after a
change is never mistaken for a loop.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter

from laguna_agent.events import ToolCall

LONGEST_CYCLE = 8
REPEATS = 3


def fingerprint(call: ToolCall, result: str = "") -> str:
    """A digest of a call, white space in its arguments folded, and of its result."""
    arguments = json.dumps(call.arguments, sort_keys=True, ensure_ascii=False)
    folded = " ".join(arguments.replace("\\n", " ").split())
    return hashlib.sha256(f"{call.name}\0{folded}\0{result}".encode(errors="replace")).hexdigest()


class LoopDetector:
    """Remembers the calls of one turn."""

    def __init__(self) -> None:
        self._outcomes: list[str] = []
        self._fresh: set[str] = set()
        self._last: dict[str, str] = {}

    def is_repeat(self, calls: list[ToolCall]) -> bool:
        """Whether all of these calls were already made since something may have changed."""
        return bool(calls) and all(fingerprint(call) in self._fresh for call in calls)

    def saw(
        self,
        call: ToolCall,
        result: str,
        *,
        changed: bool,
        command: bool = False,
        again: bool = False,
    ) -> None:
        """Record a call that ran. A change makes earlier calls worth repeating.

        A command may change anything, and may itself come out otherwise the next time; it counts
        as made once it came back twice with the same result. So does a call that was refused with
        the word that it may be made `again`.
        """
        own, outcome = fingerprint(call), fingerprint(call, result)
        if changed or command:
            self._fresh.clear()
        if not (command or again) or self._last.get(own) == outcome:
            self._fresh.add(own)
        self._last[own] = outcome
        self._outcomes.append(outcome)

    def circling(self) -> str | None:
        """A sentence about the circle that the last calls made, or None.

        A circle is a sequence of one to eight calls, with the same results, three times in a row,
        or one same call with the same result more often than that in the last steps.
        """
        outcomes = self._outcomes
        for length in range(1, LONGEST_CYCLE + 1):
            needed = length * REPEATS
            if len(outcomes) < needed:
                break
            tail = outcomes[-needed:]
            if all(tail[i] == tail[i % length] for i in range(needed)):
                if length == 1:
                    return f"the same call came back with the same result {REPEATS} times in a row"
                return f"the same {length} calls came back {REPEATS} times with the same results"
        recent = Counter(outcomes[-4 * LONGEST_CYCLE :])
        if recent and recent.most_common(1)[0][1] >= 2 * REPEATS:
            return f"one call came back with the same result {2 * REPEATS} times"
        return None
