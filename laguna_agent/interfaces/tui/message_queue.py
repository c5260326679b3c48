"""The user's messages on their way to the model: sent now, steered into the turn, or waiting.

What was typed first is used first, whether it is a message, a shell command (`!`) or a slash
command. Enter steers a running turn, unless something typed before must wait for its end; Alt+Enter
always waits for the end. What a stop leaves is held: it stays in the list, each message for itself,
until the user sends it on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laguna_agent.errors import LagunaError
from laguna_agent.interfaces.tui.reference import command_of
from laguna_agent.interfaces.tui.system.prompt import Prompt

if TYPE_CHECKING:
    from laguna_agent.events import Event, UserMessage
    from laguna_agent.interfaces.tui.agent_thread import AgentThread
    from laguna_agent.interfaces.tui.transcript.transcript_model import Entry, TranscriptModel
    from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine
    from laguna_agent.interfaces.tui.widgets.composer import Composer
    from laguna_agent.interfaces.tui.widgets.queued_messages import Delivery, QueuedMessages

_SHELL_CHARS = 4_000
_SHELL_HINT = " · esc ends it · enter: its terminal"


@dataclass(eq=False)
class _Waiting:
    prompt: Prompt
    after_turn: bool = False
    """Whether it waits for the end of the turn because the user wants it so."""
    held: bool = False
    """Whether it waits for the user."""
    steering: UserMessage | None = None
    """The session's own copy of a steering message, until it is used."""

    @property
    def text(self) -> str:
        return self.prompt.expanded.strip()

    def delivery(self, *, loaded: bool) -> Delivery:
        if self.held:
            return "held"
        if self.steering is not None:
            return "steer"
        return "queue" if loaded else "load"


class MessageQueue:
    """Sends a message if the agent is idle, else lets it wait. `run_command` runs a slash command
    when its turn has come, and returns False for a message; `size` is that of the terminal of a
    shell command, in columns and rows."""

    def __init__(
        self,
        agent: AgentThread,
        transcript_model: TranscriptModel,
        composer: Composer,
        activity: ActivityLine,
        view: QueuedMessages,
        *,
        run_command: Callable[[str], bool],
        size: Callable[[], tuple[int, int]],
    ) -> None:
        self._agent = agent
        self._transcript_model = transcript_model
        self._composer = composer
        self._activity = activity
        self._view = view
        self._run_command = run_command
        self._size = size
        self._waiting: list[_Waiting] = []
        self._shell_outputs: list[str] = []
        """Of the user's commands since the last message, for the model."""
        self._sent: tuple[Prompt, list[str]] = Prompt(""), []
        """The last message sent, and the command outputs sent with it."""
        self._numbers = itertools.count(1)

    @property
    def prompts(self) -> list[Prompt]:
        """The waiting messages, in order."""
        return [item.prompt for item in self._waiting]

    @property
    def must_wait(self) -> bool:
        """Whether something that was typed before is not used yet, or something runs."""
        return self._activity.busy or any(not item.held for item in self._waiting)

    # --- sending ---------------------------------------------------------------------------

    def send(self, prompt: Prompt, delivery: Delivery) -> None:
        """Send a message or a command, now or when its turn has come."""
        session = self._agent.session
        if session is not None and not self.must_wait:
            self._start(prompt)
            return
        item = _Waiting(prompt, after_turn=delivery == "queue")
        waits = item.after_turn or _is_command(item.text) or self._has_to_wait_behind()
        place = len(self._waiting) if waits else self._steered
        self._waiting.insert(place, item)
        if not waits:
            self._steer(item)
        self._show()
        if session is None and not self._activity.busy:  # loading was stopped, or failed
            self._activity.begin("loading the model")
            self._agent.reopen()

    def send_next(self) -> None:
        """Use what waits, in order: the agent is idle."""
        if self._transcript_model.remove_pending_message():
            prompt, outputs = self._sent
            self._composer.put_back(prompt)
            self._shell_outputs[:0] = outputs
        session = self._agent.session
        if session is None:
            return
        for item in self._waiting:  # what came too late to steer becomes the next message
            if item.steering is not None:
                session.withdraw(item.steering)
                item.steering = None
        while not self._activity.busy and (first := self._first()) is not None:
            self._waiting.remove(first)
            self._start(first.prompt)
        self._show()

    def follow(self, event: Event) -> None:
        """Remove the steering message that the session has used, and steer what may be."""
        if event.type == "user_message" and event.origin == "steer":
            self._waiting = [item for item in self._waiting if item.steering is not event]
            self._show()
        elif event.type == "turn_started":
            while (item := self._first()) is not None and self._may_steer(item):
                if not self._steer(item):
                    break
            self._show()

    def hold(self) -> None:
        """Hold everything that waits: the user has stopped the agent."""
        session = self._agent.session
        for item in list(self._waiting):
            if item.steering is not None and session is not None:
                if not session.withdraw(item.steering):  # the model already has it
                    self._waiting.remove(item)
                item.steering = None
            item.held = True
        self._show()

    def restore(self, prompts: Sequence[Prompt]) -> None:
        """Let the messages of an earlier start wait for the user."""
        self._waiting += [_Waiting(prompt, held=True) for prompt in prompts]
        self._show()

    def release(self) -> bool:
        """Send what is held; False if nothing is."""
        held = [item for item in self._waiting if item.held]
        for item in held:
            item.held = False
        if held and not self._activity.busy:
            if self._agent.session is None:
                self._activity.begin("loading the model")
                self._agent.reopen()
            else:
                self.send_next()
        self._show()
        return bool(held)

    # --- what waits ------------------------------------------------------------------------

    def handle_key(self, key: str) -> str:
        """Handle a key for the selected message; returns why it does nothing, if so."""
        view = self._view
        match key:
            case "up" | "down":
                view.select(view.selected + (1 if key == "down" else -1))
            case "alt+up" | "alt+down":
                view.select(self.move(view.selected, 1 if key == "alt+down" else -1))
            case "delete" | "backspace" | "d":
                if (removed := self.take(view.selected)) is not None:
                    self._composer.prompt_history.add(removed)
            case "enter":
                return self._edit(view.selected)
        return ""

    def _edit(self, number: int) -> str:
        """Take a message back into the composer. Two commands never become one."""
        typed = self._composer.prompt
        texts = [typed.text, *(item.text for item in self._waiting[number : number + 1])]
        self._composer.focus()
        if not typed.is_empty and any(text.lstrip()[:1] in "!/" for text in texts):
            return "send or clear what is typed first"
        if (prompt := self.take(number)) is not None:
            self._composer.put_back(prompt)
        return ""

    def take(self, number: int) -> Prompt | None:
        """Remove a waiting message and return it; None when it is used by now."""
        if not 0 <= number < len(self._waiting):
            return None
        item = self._waiting.pop(number)
        self._show()
        session = self._agent.session
        if item.steering is None or session is None or session.withdraw(item.steering):
            return item.prompt
        return None

    def move(self, number: int, step: int) -> int:
        """Move a waiting message up or down; returns its new place. What steers stays in front."""
        place = number + step
        if not (0 <= number < len(self._waiting) and 0 <= place < len(self._waiting)):
            return number
        items = self._waiting
        if items[number].steering is None and items[place].steering is None:
            items[number], items[place] = items[place], items[number]
            self._show()
            return place
        return number

    def _first(self) -> _Waiting | None:
        """The first message that waits for its turn only."""
        return next((i for i in self._waiting if not i.held and i.steering is None), None)

    @property
    def _steered(self) -> int:
        """How many messages steer; they are in front."""
        return sum(item.steering is not None for item in self._waiting)

    def _has_to_wait_behind(self) -> bool:
        """Whether something typed with Enter has to wait, and so what is typed after it."""
        session = self._agent.session
        if session is None or not session.busy:
            return True
        return any(not (i.held or i.after_turn or i.steering) for i in self._waiting)

    @staticmethod
    def _may_steer(item: _Waiting) -> bool:
        return not item.after_turn and not _is_command(item.text)

    def _steer(self, item: _Waiting) -> bool:
        """Steer the running turn with a waiting message; False if that cannot be."""
        session = self._agent.session
        if session is None or not session.busy:
            return False
        try:
            item.steering = session.steer(item.text)
        except LagunaError as error:
            self._transcript_model.add_notice(str(error), "error")
            self._waiting.remove(item)
            self._composer.put_back(item.prompt)
            return False
        self._waiting.remove(item)
        self._waiting.insert(self._steered, item)
        return True

    # --- the user's commands ---------------------------------------------------------------

    def add_shell_output(self, entry: Entry) -> None:
        """Send the output of the user's command to the model with the next message."""
        output = entry.body if len(entry.body) <= _SHELL_CHARS else "…" + entry.body[-_SHELL_CHARS:]
        self._shell_outputs.append(
            f"I ran `{entry.title}` ({entry.summary or 'exit 0'}):\n{output}"
        )

    def _start(self, prompt: Prompt) -> None:
        text = prompt.expanded.strip()
        if self._run_command(text):
            return
        if text.startswith("!") and text[1:].strip():
            command = text[1:].strip()
            key = f"shell-{next(self._numbers)}"
            self._transcript_model.start_shell_command(key, command)
            self._activity.begin(f"running {command}", hint=_SHELL_HINT)
            columns, rows = self._size()
            self._agent.shell(key, command, columns=columns, rows=rows)
            return
        self._sent = prompt, list(self._shell_outputs)
        context = "\n\n".join(self._shell_outputs)
        self._shell_outputs.clear()
        self._transcript_model.add_pending_message(text)
        self._activity.begin("working")
        self._agent.turn(text, context)

    def _show(self) -> None:
        loaded = self._agent.session is not None
        self._view.show(
            [(item.delivery(loaded=loaded), item.prompt.text) for item in self._waiting]
        )


def _is_command(text: str) -> bool:
    """Whether a message is a shell command or a slash command, which no turn can take in."""
    return (text.startswith("!") and bool(text[1:].strip())) or command_of(text)[0] is not None
