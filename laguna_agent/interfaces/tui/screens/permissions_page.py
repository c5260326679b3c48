"""The list of rules: what laguna may do without asking and what it may not; one key removes one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import Input

from laguna_agent.errors import LagunaError
from laguna_agent.interfaces.tui.screens.dialogs import Choice, Page, Picker, Question
from laguna_agent.interfaces.tui.system.background import in_background
from laguna_agent.interfaces.tui.themes import Palette
from laguna_agent.plurals import counted
from laguna_agent.policy import rules
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.policy.permissions import Permission

_VERDICTS = {"allow": "may", "ask": "asks to", "deny": "may not"}
_SCOPES = {
    "session": "this session",
    "repository": "this repository",
    "everywhere": "everywhere",
    "project": "this project's settings",
    "run": "this run",
}
Revoke = Callable[["Permission"], Awaitable[Sequence["Permission"]]]
"""Removes a rule and returns those that are left. Raises LagunaError."""


class PermissionsPage(Picker):
    """The rules in force. Delete removes the highlighted one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,ctrl+x", "revoke", show=False, priority=True)
    ]

    def __init__(
        self,
        permissions: Sequence[Permission],
        uses: Mapping[str, int],
        root: str,
        palette: Palette,
        revoke: Revoke,
    ) -> None:
        """`uses` counts how often each rule decided in this session, by its label."""
        self._uses, self._root, self._palette, self._revoke = uses, root, palette, revoke
        self._permissions = {str(n): one for n, one in enumerate(permissions)}
        super().__init__(
            "Permissions: what laguna may and may not do",
            self._rows(),
            preview=self._more,
            hint="del removes it · enter shows it · esc closes",
        )

    def _rows(self) -> list[Choice]:
        return [
            Choice(id_, Text(self._said(one).plain), drawn=self._row(one))
            for id_, one in self._permissions.items()
        ]

    def _said(self, permission: Permission) -> Text:
        """What a rule says, in a sentence."""
        p, rule = self._palette, permission.rule
        colour = {"allow": p.success, "ask": p.warning, "deny": p.error}[rule.verdict]
        said = visible(rules.in_words(rule, self._root), single_line=True)
        return Text.assemble((f"{_VERDICTS[rule.verdict]} ", colour), said)

    def _row(self, permission: Permission) -> RenderableType:
        rule = permission.rule
        facts = [_SCOPES[permission.scope]]
        if rule.added is not None:
            facts.append(f"since {rule.added:%-d %b %Y}")
        used = self._uses.get(rules.rule_label(rule), 0)
        facts.append(f"used {counted(used, 'time')}" if used else "not used yet")
        below = Padding(Text(" · ".join(facts), self._palette.muted), (0, 0, 0, 2))
        return Group(self._said(permission), below)

    def _more(self, chosen: str) -> RenderableType:
        """The whole rule, and where it is kept."""
        p, permission = self._palette, self._permissions[chosen]
        rule = permission.rule
        where = str(permission.path) if permission.path else "the record of this session"
        if permission.scope == "run":
            where = "given for this run"
        toml = Text(visible(rules.rule_text(rule)), p.muted)
        return Group(Text(f"kept in {visible(where)}"), Text(), toml)

    def action_choose(self) -> None:
        """Show the whole rule on a page, for terminals without room beside the list."""
        if (chosen := self.chosen) is not None:
            shown = Group(self._row(self._permissions[chosen]), Text(), self._more(chosen))
            self.app.push_screen(Page("Permission", lambda _: shown))

    def action_revoke(self) -> None:
        """Remove the highlighted rule; one that forbids or asks only after a question."""
        if (chosen := self.chosen) is not None:
            permission = self._permissions[chosen]
            if permission.scope in ("project", "run"):
                where = permission.path or "the flags that laguna was started with"
                self._say(f"this rule is in {where}; remove it there")
            elif permission.rule.verdict == "allow":
                in_background(self, "revoke", self._remove, permission)
            else:
                self._confirm(permission)

    def _confirm(self, permission: Permission) -> None:
        def answered(answer: str | None) -> None:
            if answer == "remove":
                in_background(self, "revoke", self._remove, permission)

        question = Question(
            "Remove a rule that protects?",
            self._row(permission),
            choices={"remove": "remove it", "keep": "keep it"},
            risky="remove",
        )
        self.app.push_screen(question, answered)

    async def _remove(self, permission: Permission) -> None:
        try:
            left = await self._revoke(permission)
        except LagunaError as error:
            self._say(str(error))
            return
        self._permissions = {str(n): one for n, one in enumerate(left)}
        self.replace_choices(self._rows())
        self._say("removed; laguna asks again")

    def _say(self, text: str) -> None:
        self.query_one(Input).placeholder = text
