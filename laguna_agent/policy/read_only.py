"""Which commands and reads are allowed without asking because they only read public files.

A command whose words only read (`command_analysis`) may still do something else in a shell that
an earlier command changed, in a workspace with programs of its own, or in a repository whose
configuration names a program; and it may read a secret or a file outside the workspace.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from laguna_agent.config import RuleConfig
from laguna_agent.policy import git_config, rules, sensitive_paths
from laguna_agent.policy.analysed import AnalysedCommand, CommandAnalysis
from laguna_agent.policy.environment import absolute_path
from laguna_agent.policy.secret_reads import Permits, walked_secret
from laguna_agent.policy.shell_state import ShellState


class ReadOnlyPolicy:
    """The read-only rules for one session's workspace, search path and shell."""

    def __init__(
        self,
        root: str,
        state_dirs: Sequence[str],
        permits: Permits,
        search_path: str | None = None,
    ) -> None:
        self.shell = ShellState()
        self._root = root
        self._permits = permits
        self._state_dirs = state_dirs
        path = absolute_path(os.environ.get("PATH", "") if search_path is None else search_path)
        self._own_bins = [
            real
            for entry in path.split(os.pathsep)
            if entry and sensitive_paths.is_under(real := sensitive_paths.real(entry), root)
        ]

    def read_objection(self, path: str, *, shows: bool = True) -> str | None:
        """Why reading `path` is not allowed without asking, or None.

        Without `shows`, what is in the file is not read, only something about it.
        """
        real = sensitive_paths.real(path)
        if any(sensitive_paths.is_under(real, place) for place in self._state_dirs):
            return None
        for place in sensitive_paths.laguna_directories():
            if sensitive_paths.is_under_folded(real, place) and not sensitive_paths.is_under(
                self._root, place
            ):
                return f"{place} is laguna's own directory"
        inside = sensitive_paths.is_under(real, self._root)
        reason = sensitive_paths.secret_reason(path, self._root)
        if reason and (shows or not inside):
            return reason
        if inside or real == "/dev/null":
            return None
        if any(sensitive_paths.is_under(real, root) for root in sensitive_paths.PUBLIC_ROOTS):
            return None
        return f"{path} is outside the workspace"

    def command_objection(
        self, analysis: CommandAnalysis, forbidding: Sequence[RuleConfig]
    ) -> str | None:
        """Why a command is not allowed without asking as read-only, or None.

        `forbidding` are the rules that deny or ask.
        """
        if not analysis.read_only:
            return analysis.reason
        for path in analysis.input_files:
            if not self._permits(path) and (reason := self.read_objection(path)):
                return reason
        for command in analysis.commands:
            if reason := self._why_unreliable(command):
                return reason
            for path in command.reads:
                reason = self.read_objection(path, shows=command.shows)
                if reason and not self._permits(path):
                    return reason
            if command.contents and (rule := self._hidden_below(command, forbidding)):
                return f"it may read what a rule covers: {rules.rule_label(rule)}"
        return walked_secret(analysis, self._root, self._permits)

    def _why_unreliable(self, command: AnalysedCommand) -> str | None:
        """Why a command may not do what its words say, or None."""
        names = [os.path.basename(word.value or "") for word in command.simple.words]
        if reason := self.shell.why_unreliable(names):
            return reason
        if command.program:
            for folder in self._own_bins:
                if os.path.lexists(os.path.join(folder, command.program)):
                    return f"{command.program} comes from the workspace ({folder})"
        for place in command.git_at:
            if reason := git_config.risk(place, self._root, self.read_objection):
                return reason
        return None

    def _hidden_below(
        self, command: AnalysedCommand, forbidding: Sequence[RuleConfig]
    ) -> RuleConfig | None:
        for rule in forbidding:
            if rule.path is None or rule.write:
                continue
            for path in command.reads:
                if os.path.isdir(path) and rules.may_lie_below(rule, path, self._root):
                    return rule
        return None
