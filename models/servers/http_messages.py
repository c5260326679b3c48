"""The messages of a conversation with a server: appended, never changed, every call answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from laguna_agent.encodable import encodable
from laguna_agent.events import Reply
from laguna_agent.models.conversation import Message
from laguna_agent.models.servers.http_request import reply_message


@dataclass
class Messages:
    """Messages as the API has them. Empty ones are left out: strict servers refuse them."""

    items: list[dict[str, Any]] = field(default_factory=list)
    known_tokens: int = 0
    """Tokens of the messages before index `known_at`, as the server counted them."""
    known_at: int = 0

    def copy(self) -> Messages:
        """The same messages, to go on with in another way."""
        return Messages(list(self.items), self.known_tokens, self.known_at)

    def append(self, message: Message) -> None:
        """Append a message of a user, a tool or laguna."""
        content = encodable(message.content)
        if message.role == "tool":
            content = content if content.strip() else "(nothing)"
            if message.call_id in self._open_calls():
                result = {"tool_call_id": message.call_id, "content": content}
                self.items.append({"role": "tool", **result})
                return
        self.close_calls()
        role = message.role
        if role == "tool":
            content, role = f"Result of `{message.name or 'a tool'}`:\n{content}", "user"
        if role == "system" and self.items:
            role = "user"  # many templates accept a system message only at the beginning
        if content.strip():
            self.items.append({"role": role, "content": content})

    def append_reply(self, reply: Reply) -> None:
        """Append a reply of the model."""
        self.close_calls()
        message = reply_message(reply)
        if message is not None:
            self.items.append(message)

    def _open_calls(self) -> list[str]:
        """Ids of calls of the last reply that have no result yet."""
        answered = set()
        for message in reversed(self.items):
            if message["role"] == "tool":
                answered.add(message["tool_call_id"])
                continue
            calls = message.get("tool_calls", ())
            return [call["id"] for call in calls if call["id"] not in answered]
        return []

    def close_calls(self) -> None:
        """Add a result to each open call: servers refuse a call without one."""
        for call_id in self._open_calls():
            self.items.append(
                {"role": "tool", "tool_call_id": call_id, "content": "Not run: interrupted."}
            )
