"""A machine described in words, for `laguna models fit --what-if gpu=8GiB,ram=32GiB`."""

from __future__ import annotations

import re

from laguna_agent.errors import UsageError
from laguna_agent.models.sizing.hardware import Gpu, MemorySize

FORM = "gpu=8GiB,ram=32GiB"
_BESIDES = 2 << 30
"""Main memory that the rest of a machine takes."""
_UNIFIED = 0.75
"""Share of a Mac's memory that its card may use."""
_LARGEST = 1 << 14
_SIZE = re.compile(
    r"(?:(?P<count>\d{1,2})x)?(?P<size>\d{1,6}(?:\.\d{1,3})?)(?:g|gb|gib)?"
    r"(?:@(?P<width>\d{1,6}(?:\.\d{1,3})?)(?:gb/s)?)?",
    re.IGNORECASE | re.ASCII,
)


def parse(text: str, memory: MemorySize) -> tuple[MemorySize, list[Gpu]]:
    """The main memory and the cards that `text` describes; `memory` is used where it names none.

    `gpu=2x24GiB` is two cards, `gpu=8GiB@448GB/s` one of known bandwidth, `unified=36GiB` memory
    that card and processor share. All of a card is taken as free, and of main memory all but 2 GiB.
    Raises UsageError.
    """
    cards: list[Gpu] = []
    seen: set[str] = set()
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        name = name.strip().lower()
        match = _SIZE.fullmatch(value.strip().replace(" ", ""))
        if name not in ("gpu", "ram", "unified") or match is None:
            raise _wrong(f"{part.strip()[:40]!r} is not a size of gpu, ram or unified")
        count, size = int(match["count"] or 1), int(float(match["size"]) * (1 << 30))
        if not 0 <= size <= _LARGEST << 30 or not count or count > 16:
            raise _wrong(
                f"{part.strip()[:40]!r} is no machine's: sizes are GiB, and cards 16 at most"
            )
        if name != "gpu" and (count > 1 or name in seen or size < 1 << 30):
            raise _wrong(f"{part.strip()[:40]!r}: {name} is one size of 1 GiB or more")
        width = float(match["width"] or 0) * 1e9
        seen.add(name)
        if name == "gpu":
            cards += [Gpu(f"card of {size / 2**30:g} GiB", size, size, bandwidth=width)] * count
        else:
            if width and name == "ram":
                raise _wrong("the bandwidth of main memory is measured here and cannot be given")
            memory = MemorySize(size, max(0, size - _BESIDES))
        if name == "unified":
            room = int(_UNIFIED * size)
            cards.append(Gpu("the card", room, room, shared=True, bandwidth=width))
    if "unified" in seen and len(seen) > 1:
        raise _wrong("unified memory stands for card and main memory, so it stands alone")
    if len(cards) > 16:
        raise _wrong("a machine has at most 16 cards")
    return memory, [card for card in cards if card.total]


def _wrong(reason: str) -> UsageError:
    return UsageError(
        f"--what-if: {reason}",
        hint=f"For example --what-if {FORM}, gpu=2x24GiB,ram=64GiB or unified=36GiB; "
        "a card's bandwidth follows it: gpu=8GiB@448GB/s.",
    )
