"""The slash commands of a session in an editor, and its skills as commands."""

from __future__ import annotations

from collections.abc import Sequence

from acp import schema

from laguna_agent.agent.session import Session
from laguna_agent.agent.skills import Skill
from laguna_agent.interfaces.phrases import INIT_PROMPT
from laguna_agent.policy.sanitize import visible
from laguna_agent.tools.checkpoints.change import Taken

_COMMANDS = {
    "compact": ("Summarise the conversation to free the context", "what to keep"),
    "check": ("A command that must succeed before a task is done", "COMMAND, or off"),
    "undo": ("Take back what the last turn changed in files", ""),
    "redo": ("Make again what the last undo took back", ""),
    "init": ("Let laguna write an AGENTS.md for this repository", ""),
}


def available(skills: Sequence[Skill] = ()) -> schema.AvailableCommandsUpdate:
    """The commands, and the skills that have no command's name."""
    known = {**{skill.name: (skill.description, "") for skill in skills}, **_COMMANDS}
    return schema.AvailableCommandsUpdate(
        session_update="available_commands_update",
        available_commands=[
            schema.AvailableCommand(
                name=name,
                description=about,
                input=schema.AvailableCommandInput(root=schema.UnstructuredCommandInput(hint=hint))
                if hint
                else None,
            )
            for name, (about, hint) in sorted(known.items())
        ],
    )


def command_of(text: str) -> tuple[str, str] | None:
    """(name, argument) of a message that is a command; None for others, skills among them."""
    if not text.startswith("/"):
        return None
    name, _, argument = text[1:].partition(" ")
    return (name, argument.strip()) if name in _COMMANDS else None


async def run(session: Session, name: str, argument: str) -> str:
    """Run a command but `init`; returns what to tell. Raises LagunaError."""
    match name:
        case "compact":
            if not session.conversation_state.user_messages:
                return "There is nothing to summarise yet."
            if await session.compact(argument):
                return "The conversation is summarised."
            return "The conversation is as short as its summary, and stays as it is."
        case "check":
            if argument:
                session.set_check(None if argument == "off" else argument)
            check = session.settings.check
            return f"The check of every task: `{check}`" if check else "No check is set."
        case "undo":
            return _told(await session.undo(), "/redo makes the changes again")
        case _:
            return _told(await session.undo(redo=True), "/undo takes them back")


def message_of(name: str) -> str | None:
    """The message to the model that a command stands for."""
    return INIT_PROMPT if name == "init" else None


def _told(taken: Taken, back: str) -> str:
    names = ", ".join(visible(item.path, single_line=True) for item in taken.done)
    lines = [f"Restored {names}; {back}."] if names else []
    lines += [
        f"{visible(name, single_line=True)} was left as it is: {reason}"
        for name, reason in taken.left.items()
    ]
    return "\n".join(lines) or "The files are so already."
