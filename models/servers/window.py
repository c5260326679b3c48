"""How large a server's context is in truth, seen from the tokens that it counts.

Some servers (Ollama at 4,096 tokens, unless told otherwise) drop the beginning of a prompt that is
too long without a word. Their count of the prompt's tokens is then smaller than it can be. Others
count only what they did not have in their cache, which is no smaller than what is new to them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from laguna_agent.events import Reply
from laguna_agent.models.servers.http_messages import Messages
from laguna_agent.models.servers.http_request import size

_CHARS_PER_TOKEN = 3.6
"""An estimate until the server reports token counts."""
_SMALLEST = 1_024
"""Tokens of the smallest prompt that is taken for a cut one: some servers count only the tokens
that they read, without those that they had."""


_REPEATED = 4_000
"""Tokens with which a first message may begin as that of another conversation did: instructions,
memories. A server may have them in its cache."""


class SmallerWindow(NamedTuple):
    """A window that turned out smaller, in tokens, and what a person should know of it."""

    tokens: int
    text: str


class Window:
    """What is known of a server's window. `raise_context`: how a person makes it larger."""

    def __init__(self, raise_context: str = "") -> None:
        self.chars_per_token = _CHARS_PER_TOKEN
        self.raise_context = raise_context or "set a larger one at the server"
        self._largest = 0

    def learn(self, tokens: int, chars: int, *, shrink: bool = False) -> None:
        """Learn from a prompt of so many characters that the server counted whole.

        `shrink`: the estimate may only become smaller.
        """
        ratio = min(max(chars / tokens, 1.0), 10.0)
        self.chars_per_token = min(ratio, self.chars_per_token) if shrink else ratio
        self._largest = max(self._largest, tokens)

    def smaller_than(
        self,
        limit: int,
        reply: Reply,
        messages: Messages,
        declared: Sequence[dict[str, Any]],
        expected: int,
        max_tokens: int,
    ) -> SmallerWindow | None:
        """The server's window, when its reply to these messages shows one below `limit`.

        `expected` are the prompt's tokens as estimated, `max_tokens` those asked for.
        """
        read, written = reply.usage.prompt_tokens, reply.usage.completion_tokens
        if not read:
            return None
        # Templates may drop thoughts.
        thoughts = sum(len(m.get("reasoning_content", "")) for m in messages.items)
        grown = messages.known_tokens - thoughts // 2 + _words(messages.items[messages.known_at :])
        sure = max(grown, _words(messages.items) + size(list(declared)) // 20)
        whole = read >= 0.95 * sure - 64
        seen = read + written
        ended = reply.finish_reason == "length" and 0 < written < max_tokens and seen < limit
        if whole and ended and min(seen % 256, -seen % 256) <= 2:  # windows are round numbers
            return SmallerWindow(seen, self._text(seen, "ended the reply", expected))
        if whole or read < _SMALLEST or read < 0.6 * self._largest:
            return None
        if read + reply.usage.reused_tokens >= 0.95 * sure - 64 or _only_new(read, messages):
            return None
        window = 1 << (read - 1).bit_length()
        window = window if window < limit else min(read, limit)
        return SmallerWindow(window, self._text(read, "read only", max(sure, expected)))

    def _text(self, tokens: int, what: str, expected: int) -> str:
        done = f"{what} {tokens:,} of about {expected:,} tokens"
        if what == "ended the reply":
            done = f"{what} at {tokens:,} tokens"
        return (
            f"The server {done}: its context is smaller than expected, so the conversation is "
            f"summarised. For a larger context {self.raise_context}."
        )


def _only_new(read: int, messages: Messages) -> bool:
    """Whether so many tokens can be those of the messages that the server cannot have seen."""
    at = messages.known_at
    if not at:
        before = [n for n, m in enumerate(messages.items) if m["role"] in ("assistant", "system")]
        at = before[-1] + 1 if before else 0
    new = messages.items[at:]
    fewest = _words(new) - (0 if messages.known_at else _REPEATED)
    most = sum(len(str(message["content"]).encode()) // 2 + 64 for message in new)
    return 0.95 * fewest - 64 <= read <= most


def _words(messages: Sequence[dict[str, Any]]) -> int:
    """Words of messages, without thoughts: no tokenizer makes fewer tokens."""
    return sum(len(re.findall(r"\w+", str(message["content"]))) for message in messages)
