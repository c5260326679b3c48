"""`make messages` finds the strings that a user may see."""

from __future__ import annotations

import pytest

from support.messages import messages

UNDO = "laguna_agent/interfaces/commands/undo.py"


@pytest.mark.slow
def test_messages_of_every_kind_are_listed_with_their_place() -> None:
    found = list(messages(("laguna_agent", "models/catalogue.toml")))
    shown = {(message.path, message.kind, message.text) for message in found}
    assert {
        ("laguna_agent/interfaces/commands/flags.py", "help", "use no network"),
        ("laguna_agent/interfaces/headless.py", "UsageError", "the task is empty"),
        (UNDO, "write_line", "No file had changed."),
        ("models/catalogue.toml", "data", "Laguna XS 2.1, by poolside"),
    } <= shown
    assert {"hint", "Notice", "description"} <= {message.kind for message in found}
    assert not any("Run the command line; returns" in message.text for message in found)
    lines = [message.line for message in found if message.path.endswith("flags.py")]
    assert lines == sorted(lines)
