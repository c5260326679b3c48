"""The gate: every side effect is submitted to it as a typed action and allowed, asked or denied.

Order: rules that deny; plan mode; `allow-all`; protected and secret paths; rules that ask; rules
that allow; then the mode. Each decision names what decided.

Over 400 lines because that order is best read in one place.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from laguna_agent.actions import (
    Action,
    ApproveMcpTools,
    CallMcpTool,
    Decision,
    GitWrite,
    Mode,
    Network,
    ReadPath,
    Risk,
    RunCommand,
    Verdict,
    WritePath,
)
from laguna_agent.config import RuleConfig
from laguna_agent.paths import state_dir
from laguna_agent.policy import rules, sensitive_paths
from laguna_agent.policy.analysed import AnalysedCommand, CommandAnalysis
from laguna_agent.policy.command_analysis import analyse, reads_only_by_name
from laguna_agent.policy.git_directories import GitDirectories
from laguna_agent.policy.git_layout import git_directories, git_layout, is_of_linked_repository
from laguna_agent.policy.git_references import reference_reason
from laguna_agent.policy.hidden_secrets import HiddenSecrets
from laguna_agent.policy.irreversible import loss
from laguna_agent.policy.mcp_approval import why_call_asks, why_tools_ask
from laguna_agent.policy.permissions import RuleSet
from laguna_agent.policy.quarantine import Quarantine
from laguna_agent.policy.read_only import ReadOnlyPolicy
from laguna_agent.policy.risks import risks
from laguna_agent.policy.secret_reads import shown_secret, untracked_secrets
from laguna_agent.policy.suggestions import narrowest_rule
from laguna_agent.policy.words import possible_paths
from laguna_agent.policy.wrappers import visible_commands

LOCAL_GIT = frozenset({"add", "commit", "stash", "branch", "tag", "init", "unstage"})
"""Operations of the git tool that lose nothing and stay on this machine."""


class Gate:
    """Decides about actions in one session.

    `sandboxed` says that commands run in a real sandbox, `network` that children have a network.
    `state_dirs` are directories of laguna's own state that this session may read (long outputs).
    `search_path` is where programs are looked up (by default the process's `PATH`). `rules` are
    those of the configuration; approvals add to all three kinds.
    """

    def __init__(
        self,
        *,
        mode: Mode,
        plan: bool,
        workspace: Path,
        rules: Sequence[RuleConfig],
        sandboxed: bool,
        network: bool,
        trusted: bool,
        state_dirs: Sequence[Path] = (),
        offline: bool = False,
        search_path: str | None = None,
        repository_rules: Sequence[RuleConfig] = (),
        session_rules: Sequence[RuleConfig] = (),
    ) -> None:
        self.mode: Mode = mode
        self.plan = plan
        self.workspace = Path(sensitive_paths.real(workspace))
        self.sandboxed = sandboxed
        self.network = network
        self.trusted = trusted
        self.offline = offline
        self._root = os.fspath(self.workspace)
        self.rule_set = RuleSet(rules, repository_rules, session_rules)
        self.uses = Counter[str]()
        """How often each rule decided about a call, by what `Decision.rule` says."""
        self._state_dirs = [sensitive_paths.real(path) for path in state_dirs]
        self._read_only = ReadOnlyPolicy(
            self._root, self._state_dirs, self._permits_reading, search_path
        )
        self._secrets = HiddenSecrets(self._root, lambda: untracked_secrets(self._root))
        self._quarantine: Quarantine | None = None
        self.notices: list[str] = []
        """Warnings for the user; whoever shows them empties the list."""
        if sandboxed:
            self.confine(git_directories(self.workspace)).begin()

    # --- deciding -------------------------------------------------------------------------------

    def decide(self, action: Action, *, tool: str) -> Decision:
        """Decide about one action of a tool. Reads the file system; changes nothing."""
        analysis = (
            analyse(action.command, sensitive_paths.real(action.cwd))
            if isinstance(action, RunCommand)
            else None
        )
        if denied := self._by_rule("deny", action, tool, analysis):
            return denied
        if self.plan and (refused := self._in_plan_mode(action, analysis)):
            return refused
        if self.mode == "allow-all":
            unseen = self._hides_command(action)
            return unseen or _decision("allow", "mode allow-all", "")
        match action:
            case ReadPath():
                return self._read(action, tool)
            case WritePath():
                return self._write(action, tool)
            case RunCommand():
                assert analysis is not None
                self.begin()
                return self._run(action, tool, analysis)
            case Network():
                return self._network(action, tool)
            case GitWrite():
                return self._git(action, tool)
            case CallMcpTool():
                self.begin()
                return self._mcp(action, tool)
            case ApproveMcpTools():
                return self._by_rule("ask", action, tool, None) or _decision(
                    "ask", "built-in: MCP descriptions", why_tools_ask(action)
                )

    def command_ran(self, command: str) -> None:
        """Take note that a command ran in the persistent shell, and `sweep`."""
        self._read_only.shell.record(command)
        self.sweep()

    def confine(self, repositories: GitDirectories) -> Quarantine:
        """Commands run in a real sandbox from now on, and can write to these repositories."""
        self.sandboxed = True
        absent = git_layout(self.workspace).named_absent
        self._quarantine = Quarantine(repositories, state_dir() / "planted", absent)
        repositories.start()
        return self._quarantine

    def begin(self) -> None:
        """Take note of what repositories hold, before anything runs."""
        if self._quarantine is not None:
            self._quarantine.begin()

    def sweep(self, *, thorough: bool = True, quiet: int | None = None) -> list[str]:
        """Quarantine what commands planted in repositories (see `Quarantine.sweep`); returns and
        adds to `notices` what it was. Without a sandbox, nothing is done. Thread-safe."""
        if self._quarantine is None:
            return []
        found = self._quarantine.sweep(thorough=thorough, quiet=quiet)
        self.notices.extend(found)
        return found

    @property
    def planted_again(self) -> bool:
        """Whether something was planted again after it had been quarantined."""
        return self._quarantine is not None and self._quarantine.persistent

    # --- rules ----------------------------------------------------------------------------------

    @property
    def rules(self) -> tuple[RuleConfig, ...]:
        """The rules in force, in order."""
        return self.rule_set.all

    def suggest_rule(self, action: Action, tool: str) -> RuleConfig | None:
        """The narrowest useful rule that would allow this action from now on, or None.

        None also for what no undo brings back, and where another rule asks each time.
        """
        if any(risk.lasting for risk in self.risks(action)):
            return None
        rule = narrowest_rule(action, self._root, self._read_only_objection)
        if rule is None:
            return None
        self.rule_set.add(rule, "session")
        try:
            return rule if self.decide(action, tool=tool).verdict == "allow" else None
        finally:
            self.rule_set.remove(rule, "session")

    def risks(self, action: Action) -> list[Risk]:
        """What makes an action risky, the worst first."""
        return risks(action, self._root, self._permits_reading)

    def denied_paths(self) -> tuple[list[Path], list[Path]]:
        """Paths that the sandbox must hide, and paths it must keep read-only: from rules that deny,
        with patterns expanded to the files that exist now."""
        hidden: list[Path] = []
        fixed: list[Path] = []
        for rule in self.rules:
            if rule.verdict == "deny" and rule.path is not None:
                found = rules.existing_paths(rule, self._root)
                (fixed if rule.write else hidden).extend(found)
        return hidden, fixed

    def hidden_secrets(self) -> list[Path]:
        """The workspace's secret files that git does not hold, which the sandbox hides in auto:
        those that were there when it began."""
        if self.mode != "auto":
            return []
        return [path for path in self._secrets.paths() if not self._permits_reading(str(path))]

    def writable_paths(self) -> list[Path]:
        """Paths outside the workspace that rules allow to be written, for the sandbox."""
        return [
            path
            for rule in self.rules
            if rule.verdict == "allow" and rule.path is not None and rule.write
            for path in rules.existing_paths(rule, self._root)
            if not sensitive_paths.is_under(path, self._root)
        ]

    def _permits_reading(self, path: str) -> bool:
        """Whether a rule allows reading this path."""
        allowing = [r for r in self.rules if r.verdict == "allow" and r.path is not None]
        return any(rules.covers_path(rule, path, self._root, wide=False) for rule in allowing)

    def _by_rule(
        self, verdict: Verdict, action: Action, tool: str, analysis: CommandAnalysis | None
    ) -> Decision | None:
        for rule in self.rules:
            if rule.verdict != verdict:
                continue
            if not rules.covers_action(rule, action, tool, analysis, self._root):
                continue
            return _decision(verdict, rules.rule_label(rule), "this rule matches")
        return None

    # --- each kind ------------------------------------------------------------------------------

    def _in_plan_mode(self, action: Action, analysis: CommandAnalysis | None) -> Decision | None:
        rule = "plan mode"
        match action:
            case WritePath() | GitWrite():
                return _decision("deny", rule, "plan mode changes nothing")
            case Network():
                return _decision("deny", rule, "plan mode uses no network")
            case CallMcpTool():
                return _decision("deny", rule, "a tool of an MCP server may change something")
            case RunCommand():
                assert analysis is not None
                reason = self._read_only_objection(analysis)
                return (
                    _decision("deny", rule, f"plan mode only reads: {reason}") if reason else None
                )
            case _:
                return None

    def _hides_command(self, action: Action) -> Decision | None:
        """Ask about a command that hides what it runs, when there are rules that deny commands."""
        denies = [r for r in self.rules if r.verdict == "deny" and r.command is not None]
        if not isinstance(action, RunCommand) or not denies:
            return None
        visible = list(visible_commands(action.command))
        hiding = denies[:1] if not all(seen for _, seen in visible) else []
        hiding += [
            rule
            for rule in denies
            for simple, _ in visible
            if rules.may_cover_words(rule.command or "", [word.value for word in simple.words])
        ]
        if not hiding:
            return None
        why = "the command hides what it runs, so this rule might apply"
        return _decision("ask", rules.rule_label(hiding[0]), why)

    def _read(self, action: ReadPath, tool: str) -> Decision:
        if ruled := self._by_rule("ask", action, tool, None):
            return ruled
        if ruled := self._by_rule("allow", action, tool, None):
            return ruled
        reason = self._read_only.read_objection(action.path)
        if reason is None or is_of_linked_repository(action.path, self.workspace):
            return _decision("allow", "built-in: reading", "")
        return _decision("ask", "built-in: reading", reason)

    def _write(self, action: WritePath, tool: str) -> Decision:
        if ruled := self._by_rule("ask", action, tool, None):
            return ruled
        if reason := self._protected(action.path):
            return _decision("ask", "built-in: protected", reason)
        if ruled := self._by_rule("allow", action, tool, None):
            return ruled
        if not sensitive_paths.is_under(sensitive_paths.real(action.path), self._root):
            return _decision(
                "ask", "built-in: workspace", f"{action.path} is outside the workspace"
            )
        if self.mode in ("accept-edits", "auto"):
            return _decision("allow", f"mode {self.mode}", "an edit in the workspace")
        return _decision("ask", f"mode {self.mode}", "it changes a file")

    def _protected(self, path: str) -> str | None:
        """Why a change of `path` asks whatever rules allow, or None."""
        return sensitive_paths.protected_reason(path, self._root) or reference_reason(
            path, self._root
        )

    def _network(self, action: Network, tool: str) -> Decision:
        if self.offline:
            return _decision("deny", "offline", "laguna is offline")
        for verdict in ("ask", "allow"):
            if ruled := self._by_rule(verdict, action, tool, None):
                return ruled
        if self.mode == "auto" and self.network:
            return _decision("allow", "policy.network", "")
        return _decision("ask", f"mode {self.mode}", f"it connects to {action.host}")

    def _git(self, action: GitWrite, tool: str) -> Decision:
        for verdict in ("ask", "allow"):
            if ruled := self._by_rule(verdict, action, tool, None):
                return ruled
        drops = action.operation == "stash" and action.detail.split()[:1] == ["drop"]
        if self.mode == "auto" and action.operation in LOCAL_GIT and not drops:
            return _decision("allow", "mode auto", "a local change that can be undone")
        return _decision("ask", f"mode {self.mode}", "it changes the repository")

    def _mcp(self, action: CallMcpTool, tool: str) -> Decision:
        if self.offline and action.place == "remote":
            return _decision("deny", "offline", "laguna is offline")
        for verdict in ("ask", "allow"):
            if ruled := self._by_rule(verdict, action, tool, None):
                return ruled
        contained = action.place == "sandbox" or (action.place == "network" and self.network)
        if self.mode == "auto" and self.sandboxed and contained:
            return _decision("allow", "mode auto", "the sandbox contains it")
        return _decision("ask", f"mode {self.mode}", why_call_asks(action.place))

    def _run(self, action: RunCommand, tool: str, analysis: CommandAnalysis) -> Decision:
        if ruled := self._by_rule("ask", action, tool, analysis):
            return ruled
        if unseen := self._hides_command(action):
            return unseen
        contained = self.mode == "auto" and self.sandboxed
        if contained and (secret := shown_secret(analysis, self._permits_reading)):
            return _decision("ask", "built-in: reading", secret)
        if contained and (lost := loss(analysis, self._root)):
            return self._allowed_by_rules(analysis) or _decision("ask", "built-in: undo", lost)
        if contained:
            return _decision("allow", "mode auto", "the sandbox contains it")
        reason = self._read_only_objection(analysis)
        if reason is None:
            return _decision("allow", "built-in: only reads", "")
        for rule in self.rules:
            if rule.verdict == "allow" and rule.tool == tool:
                return _decision("allow", rules.rule_label(rule), "this rule matches")
        if allowed := self._allowed_by_rules(analysis):
            return allowed
        return _decision("ask", f"mode {self.mode}", reason)

    def _read_only_objection(self, analysis: CommandAnalysis) -> str | None:
        forbidding = [rule for rule in self.rules if rule.verdict != "allow"]
        return self._read_only.command_objection(analysis, forbidding)

    def _allowed_by_rules(self, analysis: CommandAnalysis) -> Decision | None:
        """Allow if a rule allows each simple command, or it only reads what may be read."""
        if not analysis.script.exact or analysis.script.writes or not analysis.commands:
            return None
        decided: RuleConfig | None = None
        for command in analysis.commands:
            rule = self._allow_rule(command)
            if rule is not None:
                names = [os.path.basename(word.value or "") for word in command.simple.words]
                if self._read_only.shell.why_unreliable(names):
                    return None
                decided = rule
                continue
            alone = CommandAnalysis(analysis.script, [command], analysis.cwds)
            if self._read_only_objection(alone) is not None:
                return None
        return (
            None
            if decided is None
            else _decision("allow", rules.rule_label(decided), "this rule matches")
        )

    def _allow_rule(self, command: AnalysedCommand) -> RuleConfig | None:
        """The rule that allows a simple command. A `*` lets neither an option through with which a
        program that reads does more, nor the name of a secret file."""
        values = command.simple.values or []
        for rule in self.rules if values else ():
            if rule.verdict != "allow" or rule.command is None:
                continue
            if not rules.covers_words(rule.command, values, wide=False):
                continue
            named, matched = rules.named_and_matched(rule.command, values)
            if matched and command.verdict != "read-only" and reads_only_by_name(named):
                continue
            if any(sensitive_paths.is_secret_file(p) for w in matched for p in possible_paths(w)):
                continue
            return rule
        return None


def _decision(verdict: Verdict, rule: str, reason: str) -> Decision:
    return Decision(verdict=verdict, rule=rule, reason=reason)
