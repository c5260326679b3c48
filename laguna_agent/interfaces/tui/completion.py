"""Completes the word at the cursor: commands and skills after `/`, files and symbols after `@`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laguna_agent.interfaces.tui.system.background import in_background

if TYPE_CHECKING:
    from laguna_agent.interfaces.tui.mentions.mention_source import Matches, MentionSource
    from laguna_agent.interfaces.tui.slash_commands import SlashCommands
    from laguna_agent.interfaces.tui.widgets.completion_list import CompletionList
    from laguna_agent.interfaces.tui.widgets.composer import Composer

_GROUP = "completion"


class Completion:
    """Fills the completion list and puts the accepted choice into the composer."""

    def __init__(
        self,
        composer: Composer,
        choices: CompletionList,
        mentions: MentionSource,
        commands: SlashCommands,
    ) -> None:
        self._composer = composer
        self._choices = choices
        self._mentions = mentions
        self._commands = commands
        self._accept_when_found = ""
        """A word for which Tab was pressed before a match was found."""

    def complete(self, word: str) -> None:
        """Offer completions of `word`, in place of those of any other word."""
        self._cancel_search()
        self._accept_when_found = word if word == self._accept_when_found else ""
        if word.startswith("@"):
            in_background(self._choices, _GROUP, self._search, word)
        else:
            self._choices.offer(word, self._commands.matching(word) if word else [])

    def close(self) -> None:
        """Close the list and stop the search that fills it."""
        self._cancel_search()
        self._choices.close()

    def handle_key(self, key: str) -> bool:
        """Handle a key of the composer for the open list; False if the composer should."""
        choices = self._choices
        word = self._composer.completable_word()
        is_current = choices.word == word and (choices.is_open or not choices.display)
        if key == "tab" and word.startswith("@") and not is_current:
            self._accept_when_found = word
            self.complete(word)
            return True
        if not choices.is_open:
            return False
        if key in ("up", "down") and word.startswith("@"):
            choices.move(1 if key == "down" else -1)
            return True
        if choices.word != word:  # typed faster than the list was filled
            commands = self._commands.matching(word) if word.startswith("/") else []
            choices.offer(word, commands)
            if not commands:
                return False
        if key in ("up", "down"):
            choices.move(1 if key == "down" else -1)
            return True
        if key == "enter" and choices.word == choices.chosen:
            choices.close()
            return False  # already complete: Enter sends
        self._accept(key)
        return True

    def _accept(self, key: str) -> None:
        word, chosen = self._choices.word, self._choices.chosen
        self._choices.close()
        end = "" if chosen.endswith("/") and chosen.startswith("@") else " "
        self._composer.complete(word, chosen + end)
        if key == "enter" and self._commands.runs_without_argument(chosen):
            self._composer.send("steer")

    async def _search(self, word: str) -> None:
        def offer(matches: Matches) -> None:
            choices = [("@" + hit.name, hit.about) for hit in matches.hits]
            self._choices.offer(word, choices, matches.note)
            if self._accept_when_found == word and matches.hits:
                self.handle_key("tab")

        await self._mentions.search(word[1:], offer)

    def _cancel_search(self) -> None:
        self._choices.workers.cancel_group(self._choices, _GROUP)
