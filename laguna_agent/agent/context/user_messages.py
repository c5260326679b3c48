"""What the user said, as a new epoch tells it: word for word while there is room for it.

Hundreds of messages, or a few very long ones, would fill every new epoch, which then could only be
summarised again. Where they have no room the long ones lose their middle first, and then the older
ones are left out, the first (the task) and the newest last of all. What is left out is named by the
numbers of its events, with which `recall` finds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from laguna_agent.events import UserMessage
from laguna_agent.trajectory.codec import StoredEvent

_EACH = 6
"""Tokens of the number before a message."""
_GAP = 40
"""Tokens of what stands for what was left out, rounded up."""
_LEAST = 120
"""Tokens down to which messages are cut before some are left out."""


@dataclass(frozen=True)
class Said:
    """The user's messages as they are told. `texts` are those that are, by number."""

    texts: dict[int, str]
    cut: frozenset[int] = frozenset()
    """Numbers of those that are not whole, or not there."""
    gap: tuple[int, int, int] | None = None
    """How many are left out between the first message and the others, and the numbers of the
    first and last of them."""
    dropped: list[str] = field(default_factory=list)
    """What is left out, in words for a person."""

    def until(self, seq: int) -> list[str]:
        """The texts of the messages before number `seq`, and what stands for those left out."""
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
    return [await count(spoken(item)) + _EACH for item in messages]


def tell_said(messages: Sequence[StoredEvent], sizes: Sequence[int], room: int) -> Said:
    """The user's messages, of which `sizes` are the tokens, in about `room` tokens."""
    texts = {item.seq: spoken(item) for item in messages}
    if sum(sizes) <= room or not messages:
        return Said(texts)
    newest = min(sizes[-1], max(_LEAST, room // 2, room - _GAP - sum(sizes[:-1])))
    left = room - newest - _GAP
    cap = max(_LEAST, _level(sizes[:-1], left))
    wanted = [*(min(size, cap) for size in sizes[:-1]), newest]
    gone: list[int] = []
    for place in range(1, len(messages) - 1):
        if sum(wanted) <= room - _GAP:
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
            half = int(len(text) * max(8, wanted[place] - _GAP) / size * 0.95) // 2
            texts[item.seq] = without_middle(text, half, item.seq)
            cut.append(item.seq)
    numbers = [messages[place].seq for place in gone]
    dropped = []
    if cut:
        which = f"a long user message (e{cut[0]})" if len(cut) == 1 else f"{len(cut)} user messages"
        dropped.append(f"the middle of {which}")
    if numbers:
        dropped.append(f"{counted(len(numbers), 'older user message')}")
    gap = (len(numbers), numbers[0], numbers[-1]) if numbers else None
    return Said(texts, frozenset([*cut, *numbers]), gap, dropped)


def _level(sizes: Sequence[int], room: int) -> int:
    """The size to which all that are larger are cut so that all of them take `room` together."""
    left = room
    for place, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - place)
        if size > share:
            return share
        left -= size
    return max(sizes, default=0)


def spoken(item: StoredEvent) -> str:
    """What the user said, without what was put beside it."""
    assert isinstance(item.event, UserMessage)
    return item.event.text


def without_middle(text: str, kept: int, seq: int) -> str:
    """The first and last `kept` characters of event `seq`, and what stands for those between."""
    gap = f"\n[… {len(text) - 2 * kept} characters left out; recall e{seq} has them]\n"
    return text[:kept] + gap + text[len(text) - kept :]


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things."""
    return f"{number} {one if number == 1 else many or one + 's'}"
