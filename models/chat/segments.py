"""Writes prompt segments: format text, and content that can never be taken for format.

Even without parsing special tokens, a tokenizer matches tokens that the model file calls "user
defined" (`<tool_call>` in many files), and some formats have turn markers of ordinary text. So
content is split inside each marker it spells. Segments are tokenised one by one: the model reads
the same bytes, but never the tokens of the marker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from laguna_agent.encodable import encodable
from laguna_agent.models.chat.chat_format import Segment


class SegmentWriter:
    """Collects segments. `markers` are the texts that content must not forge."""

    def __init__(self, markers: Sequence[str]) -> None:
        longest_first = sorted(set(markers), key=len, reverse=True)
        self._markers = re.compile("|".join(map(re.escape, longest_first)))
        self._segments: list[Segment] = []

    def special(self, text: str) -> SegmentWriter:
        """Format text in which special tokens are parsed."""
        return self._extend(text, special=True)

    def plain(self, text: str) -> SegmentWriter:
        """Format text of ordinary tokens; joined with adjacent content, so that the tokens are
        those of the whole text."""
        return self._extend(text, special=False)

    def content(self, text: str) -> SegmentWriter:
        """Text of a user, a file or a tool."""
        text = encodable(text)
        start = 0
        for match in self._markers.finditer(text):
            cut = match.start() + 1
            self._extend(text[start:cut], special=False)
            self._segments.append(Segment(""))  # splits the segment; dropped by `segments`
            start = cut
        return self._extend(text[start:], special=False)

    def segments(self) -> list[Segment]:
        """The segments written, without empty ones."""
        return [segment for segment in self._segments if segment.text]

    def _extend(self, text: str, *, special: bool) -> SegmentWriter:
        last = self._segments[-1] if self._segments else None
        if last is not None and last.special == special and last.text:
            self._segments[-1] = Segment(last.text + text, special)
        elif text:
            self._segments.append(Segment(text, special))
        return self


def text_of(segments: Sequence[Segment]) -> str:
    """The joined text of segments."""
    return "".join(segment.text for segment in segments)
