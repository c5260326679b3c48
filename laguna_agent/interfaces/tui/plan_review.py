"""What happens to a proposed plan: a person accepts it, edits it, or keeps planning."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import events

from laguna_agent.interfaces.tui.screens.pickers import CYCLED, MODES
from laguna_agent.interfaces.tui.system.prompt import Prompt
from laguna_agent.interfaces.tui.widgets.choice_row import Choice

if TYPE_CHECKING:
    from laguna_agent.actions import Mode
    from laguna_agent.interfaces.tui.agent_thread import AgentThread
    from laguna_agent.interfaces.tui.transcript.transcript_view import Transcript
    from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine
    from laguna_agent.interfaces.tui.widgets.composer import Composer
    from laguna_agent.interfaces.tui.widgets.plan_card import PlanCard
    from laguna_agent.interfaces.tui.widgets.status_line import StatusLine

_EDITING = "editing the plan: enter shows it again, esc discards, ctrl+g opens your editor"
_ACCEPT = "accept:"
"""Begins the ids of the choices that accept; the mode follows."""


class PlanReview:
    """Shows the plan that the session's last turn proposed, and does what is decided."""

    def __init__(
        self,
        agent: AgentThread,
        card: PlanCard,
        composer: Composer,
        status: StatusLine,
        activity: ActivityLine,
        transcript: Transcript,
    ) -> None:
        self._agent = agent
        self._card = card
        self._composer = composer
        self._status = status
        self._activity = activity
        self._transcript = transcript
        self.editing = False
        """Whether the composer holds the plan."""
        self._plan = self._folded = ""
        self._draft = Prompt("")
        """What was typed before the plan came into the composer."""
        card.on_typed(self._type)

    def offer(self) -> bool:
        """Show the plan that waits for a decision; False if there is none."""
        session = self._agent.session
        if session is None or not session.proposed_plan:
            return False
        self._plan = session.proposed_plan
        self._show()
        return True

    def _show(self) -> None:
        session = self._agent.session
        assert session is not None
        edited = self._plan != session.proposed_plan
        mode = session.gate.mode
        modes = sorted(CYCLED, key=lambda other: other != mode)
        if mode not in modes:
            modes.insert(0, mode)
        choices = [
            Choice(f"{_ACCEPT}{one}", one, MODES[one], risky=one == "allow-all",
                   group="Accept in mode", alone=f"accept ({one})")
            for one in modes
        ]  # fmt: skip
        choices += [
            Choice("edit", "edit", "in the composer, or in your editor", group="or"),
            Choice("keep", "keep planning", "nothing is accepted; say what to change", group="or"),
        ]
        title = "Plan, as you edited it" if edited else "Plan: nothing is changed yet"
        self._card.open(title, self._plan, choices, focus=not self._composer.text)
        self._folded = session.proposed_plan
        self._transcript.fold_answer(self._folded, folded=True)

    def decide(self, choice: str) -> None:
        """Do what was decided."""
        self.close()
        if choice == "edit":
            self.editing, self._draft = True, self._composer.prompt
            self._composer.put(self._plan)
            self._status.flash(_EDITING, 8.0)
        elif choice.startswith(_ACCEPT):
            mode = cast("Mode", choice.removeprefix(_ACCEPT))
            self._status.change(plan=False, mode=mode)
            self._activity.begin("working")
            self._agent.accept_plan(self._plan, mode)

    def take_edited(self, text: str) -> bool:
        """Show the plan with the composer's text, if that is the plan."""
        if not self.editing:
            return False
        self._plan = text.strip()
        self._end_editing()
        return True

    def cancel(self) -> bool:
        """Discard what was edited, or close the card; False if there is nothing to close."""
        if self.editing:
            self._end_editing()
        elif self._card.is_open:
            self.close()
            self._status.flash("still planning; /plan shows the plan again", 5.0)
        else:
            return False
        return True

    def close(self) -> None:
        """Close the card: the plan is decided on, or no longer the last one."""
        if self._card.is_open:
            self._composer.focus()
            self._card.close()
            self._transcript.fold_answer(self._folded, folded=False)

    def _end_editing(self) -> None:
        self.editing = False
        self._composer.put(self._draft)
        self._status.flash("")
        self._show()

    def _type(self, key: events.Key) -> None:
        """The card never takes what is typed: it goes on in the composer."""
        self._composer.focus()
        self._composer.post_message(events.Key(key.key, key.character))
