"""The user's messages in a new epoch: word for word while there is room for them.

Hundreds of messages, or a few very long ones, would fill every new epoch, which then could only be
summarised again. Where there is no room, long messages lose their middle first; then older ones
are left out, the first (the task) and the newest last of all. What is left out is named by its
event numbers, with which `recall` finds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from laguna_agent.events import UserMessage
from laguna_agent.plurals import counted
from laguna_agent.trajectory.codec import StoredEvent

_NUMBER_TOKENS = 6
"""Token cost of the number before a message."""
_ELISION_TOKENS = 40
"""Token cost of the elision marker, rounded up."""
_MIN_TOKENS = 120
"""Tokens to which messages are cut before some are left out."""


@dataclass(frozen=True)
class FittedMessages:
    """The user's messages as far as they fit. `texts` are by event number."""

    texts: dict[int, str]
    cut: frozenset[int] = frozenset()
    """Numbers of the messages that are cut or left out."""
    gap: tuple[int, int, int] | None = None
    """How many are left out between the first message and the others, and the numbers of the
    first and last of them."""
    dropped: list[str] = field(default_factory=list)
    """What is cut or left out, in words for people."""

    def before(self, seq: int) -> list[str]:
        """The texts of the messages before number `seq`, with a marker for those left out."""
        texts = [text for number, text in self.texts.items() if number < seq]
        if self.gap is not None:
            number, first, last = self.gap
            which = f"e{first}" if first == last else f"e{first} to e{last}"
            texts.insert(1, f"[… {counted(number, 'message')} left out, {which}; recall has them]")
        return texts


async def sizes_of(
    messages: Sequence[StoredEvent], count: Callable[[str], Awaitable[int]]
) -> list[int]:
    """Tokens of each user message, with its number."""
    return [await count(text_of(item)) + _NUMBER_TOKENS for item in messages]


def fit_messages(
    messages: Sequence[StoredEvent], sizes: Sequence[int], room: int
) -> FittedMessages:
    """Cut the user's messages, which have `sizes` tokens, to about `room` tokens."""
    texts = {item.seq: text_of(item) for item in messages}
    if sum(sizes) <= room or not messages:
        return FittedMessages(texts)
    newest = min(sizes[-1], max(_MIN_TOKENS, room // 2, room - _ELISION_TOKENS - sum(sizes[:-1])))
    left = room - newest - _ELISION_TOKENS
    cap = max(_MIN_TOKENS, _level(sizes[:-1], left))
    wanted = [*(min(size, cap) for size in sizes[:-1]), newest]
    gone: list[int] = []
    for place in range(1, len(messages) - 1):
        if sum(wanted) <= room - _ELISION_TOKENS:
            break
        wanted[place] = 0
        gone.append(place)
    cut = []
    for place, (item, size) in enumerate(zip(messages, sizes, strict=True)):
        if not wanted[place]:
            del texts[item.seq]
        elif wanted[place] < size:
            # In characters by the text's own density, with a margin for the mark in its middle.
            text = texts[item.seq]
            half = int(len(text) * max(8, wanted[place] - _ELISION_TOKENS) / size * 0.95) // 2
            texts[item.seq] = elide_middle(text, half, item.seq)
            cut.append(item.seq)
    numbers = [messages[place].seq for place in gone]
    dropped = []
    if cut:
        one = f"a long user message (e{cut[0]})"
        which = one if len(cut) == 1 else counted(len(cut), "user message")
        dropped.append(f"the middle of {which}")
    if numbers:
        dropped.append(counted(len(numbers), "older user message"))
    gap = (len(numbers), numbers[0], numbers[-1]) if numbers else None
    return FittedMessages(texts, frozenset([*cut, *numbers]), gap, dropped)


def _level(sizes: Sequence[int], room: int) -> int:
    """The size to which all that are larger are cut so that all of them take `room` together."""
    left = room
    for place, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - place)
        if size > share:
            return share
        left -= size
    return max(sizes, default=0)


def text_of(item: StoredEvent) -> str:
    """The text of a user message, without its context; with the plan that it accepts."""
    event = item.event
    assert isinstance(event, UserMessage)
    if event.plan is None or event.plan.text in event.text:
        return event.text
    return f"{event.text}\n{event.plan.text}"


def elide_middle(text: str, kept: int, seq: int) -> str:
    """The first and last `kept` characters of event `seq`, with a marker between them."""
    gap = f"\n[… {len(text) - 2 * kept} characters left out; recall e{seq} has them]\n"
    return text[:kept] + gap + text[len(text) - kept :]
