"""Detects loops: the same call again and again, or a cycle of a few calls.

Calls are the same when their results are too, so running the tests again after a change is never
mistaken for a loop.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

from laguna_agent.events import ToolCall

LONGEST_CYCLE = 8
REPEATS = 3
_TIMES = re.compile(
    r"\d+(?:[.,]\d+)?\s?(?:ns|us|µs|ms|s|sec|secs|seconds?)\b|\d\d:\d\d(?::\d\d)?(?:\.\d+)?"
)
"""Times and durations in results: that a test took longer is nothing new."""


def fingerprint(call: ToolCall, result: str = "") -> str:
    """A digest of a call and its result, with white space in the arguments folded."""
    arguments = json.dumps(call.arguments, sort_keys=True, ensure_ascii=False)
    folded = " ".join(arguments.replace("\\n", " ").split())
    return hashlib.sha256(f"{call.name}\0{folded}\0{result}".encode(errors="replace")).hexdigest()


class LoopDetector:
    """The calls of one turn."""

    def __init__(self) -> None:
        self._results: list[str] = []
        """Digests of all calls with their results."""
        self._made: set[str] = set()
        """Digests of calls that were made since something may have changed."""
        self._last: dict[str, str] = {}
        self._written: dict[str, str] = {}
        """Digests of the last writes, by path."""
        self._complete: set[str] = set()
        """Files that were written whole, with nothing wrong in them, since the model last saw
        something that may ask for another change."""

    def is_repeat(self, calls: list[ToolCall]) -> bool:
        """Whether all of these calls were made already since something may have changed; writes of
        a file, since something else was written to it."""
        return bool(calls) and all(map(self._was_made, calls))

    def _was_made(self, call: ToolCall) -> bool:
        own = fingerprint(call)
        path = str(call.arguments.get("path"))
        return own in self._made or (call.name == "write" and self._written.get(path) == own)

    def writes_again(self, name: str, text: str) -> bool:
        """Whether a call, as it begins (`### write a.py`), writes a file that has just been written
        whole, though nothing asks for it."""
        line, whole, _ = text.partition("\n")
        return name == "write" and bool(whole) and line.split(" ", 2)[-1] in self._complete

    def expect_changes(self) -> None:
        """Note that the model reads something now that may ask for another change."""
        self._complete.clear()

    def add(
        self,
        call: ToolCall,
        result: str,
        *,
        changed: bool,
        command: bool = False,
        again: bool = False,
        complete: bool = False,
    ) -> None:
        """Add a call that ran. A change makes earlier calls worth repeating. With `complete` it
        wrote a file whole, with nothing wrong in it.

        A command may change anything, and may have another result the next time; it counts as made
        once it had the same result twice. So does a call that was refused with the advice to make
        it `again`.
        """
        own, with_result = fingerprint(call), fingerprint(call, _TIMES.sub("", result))
        if changed or command:
            self._made.clear()
        if changed and command:
            self._written.clear()
        elif changed and call.name == "write":
            self._written[str(call.arguments.get("path"))] = own
        if complete:
            self._complete.add(str(call.arguments.get("path")))
        else:
            self.expect_changes()
        if not (command or again) or self._last.get(own) == with_result:
            self._made.add(own)
        self._last[own] = with_result
        self._results.append(with_result)

    def loop(self) -> str | None:
        """A clause about the loop that the last calls form, or None.

        A loop is a sequence of one to eight calls with the same results, three times in a row, or
        one call with the same result six times in the last 32.
        """
        results = self._results
        for length in range(1, LONGEST_CYCLE + 1):
            needed = length * REPEATS
            if len(results) < needed:
                break
            tail = results[-needed:]
            if all(tail[i] == tail[i % length] for i in range(needed)):
                if length == 1:
                    return f"the same call came back with the same result {REPEATS} times in a row"
                return f"the same {length} calls came back {REPEATS} times with the same results"
        recent = Counter(results[-4 * LONGEST_CYCLE :])
        if recent and recent.most_common(1)[0][1] >= 2 * REPEATS:
            return f"one call came back with the same result {2 * REPEATS} times"
        return None
