"""Where rules are kept: in the session, for one repository, in the configuration.

Rules that approvals add for a repository are in a file of laguna's state directory, which commands
in the sandbox cannot see, and not in the repository, where a command could write them.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from laguna_agent.actions import Scope
from laguna_agent.config import RuleConfig, load_rules
from laguna_agent.config_file import edit_config
from laguna_agent.errors import UsageError
from laguna_agent.paths import config_dir, repository_state_dir
from laguna_agent.policy import rules
from laguna_agent.policy.trust import SETTINGS


class Permission(NamedTuple):
    """A rule in force, and where it comes from. `path` is the file that holds it, None for the
    session and for what was given for this run alone."""

    rule: RuleConfig
    scope: Scope | Literal["project", "run"]
    path: Path | None = None


class RuleSet:
    """The rules of one session, by where they are kept."""

    def __init__(
        self,
        configured: Sequence[RuleConfig],
        repository: Sequence[RuleConfig] = (),
        session: Sequence[RuleConfig] = (),
    ) -> None:
        """`configured` are those of the configuration: the user's, and of a trusted project."""
        self._by_scope: dict[Scope, list[RuleConfig]] = {
            "everywhere": list(configured),
            "repository": list(repository),
            "session": list(session),
        }

    @property
    def all(self) -> tuple[RuleConfig, ...]:
        """All rules, in the order in which they are tried."""
        return tuple(rule for kept in self._by_scope.values() for rule in kept)

    def of(self, scope: Scope) -> list[RuleConfig]:
        """The rules of one scope; those of the configuration for everywhere."""
        return list(self._by_scope[scope])

    def add(self, rule: RuleConfig, scope: Scope) -> None:
        """Put a rule in force, unless it is."""
        if not any(same(rule, other) for other in self._by_scope[scope]):
            self._by_scope[scope].append(rule)

    def remove(self, rule: RuleConfig, scope: Scope) -> None:
        """Take a rule out of force."""
        kept = self._by_scope[scope]
        kept[:] = [other for other in kept if not same(rule, other)]


def same(one: RuleConfig, other: RuleConfig) -> bool:
    """Whether two rules say the same, whenever they were added."""
    return one.model_copy(update={"added": None}) == other.model_copy(update={"added": None})


def rules_file(scope: Scope, root: Path) -> Path | None:
    """The file that holds the rules of a scope in the repository `root`; None for the session."""
    match scope:
        case "everywhere":
            return config_dir() / "config.toml"
        case "repository":
            return repository_state_dir(root) / "permissions.toml"
        case "session":
            return None


def repository_rules(root: Path) -> list[RuleConfig]:
    """The rules that approvals added for one repository. Raises UsageError for a broken file."""
    path = rules_file("repository", root)
    assert path is not None
    return load_rules(path)


def permissions(in_force: RuleSet, root: Path, *, trusted: bool) -> list[Permission]:
    """The rules in force and those that their files have since then, each with its file.

    Raises UsageError for a broken file.
    """
    found = [Permission(rule, "session") for rule in in_force.of("session")]
    files: list[tuple[Scope | Literal["project"], Path | None]] = [
        ("repository", rules_file("repository", root)),
        ("everywhere", rules_file("everywhere", root)),
    ]
    if trusted:
        files.append(("project", root / SETTINGS / "config.toml"))
    for scope, path in files:
        assert path is not None
        found += [Permission(rule, scope, path) for rule in load_rules(path)]
    known = [permission.rule for permission in found]
    found += [
        Permission(rule, "run")
        for rule in in_force.of("everywhere")
        if not any(same(rule, other) for other in known)
    ]
    return found


def write_rule(rule: RuleConfig, path: Path) -> None:
    """Add a rule to a file, unless it has the rule already; the rest of it stays as it is.

    Raises UsageError when the file is not valid TOML or cannot hold the rule.
    """
    fields = rule.model_dump(exclude_none=True, exclude_defaults=True)

    def add(config: MutableMapping[str, Any]) -> None:
        policy = config.setdefault("policy", {})
        kept = policy.get("rules")
        if kept is None:
            policy["rules"] = [fields]
        elif not any(_is(item, rule) for item in kept):
            kept.append(fields)

    _edit(path, add, f"Add this to it yourself: {rules.inline(rule)}")


def remove_rule(rule: RuleConfig, path: Path) -> None:
    """Remove a rule from a file; the rest of it stays as it is. Raises UsageError."""

    def remove(config: MutableMapping[str, Any]) -> None:
        policy = config.get("policy", {})
        kept = policy.get("rules", [])
        for index in reversed(range(len(kept))):
            if _is(kept[index], rule):
                del kept[index]
        if "rules" in policy and not kept:
            del policy["rules"]
        if "policy" in config and not policy:
            del config["policy"]

    _edit(path, remove, f"Remove this from it yourself: {rules.inline(rule)}")


def _edit(path: Path, change: Callable[[MutableMapping[str, Any]], None], hint: str) -> None:
    try:
        edit_config(path, change)
    except UsageError as error:
        raise UsageError(error.message, hint=hint) from error


def _is(item: Any, rule: RuleConfig) -> bool:
    """Whether an entry of a file is this rule."""
    try:
        return same(RuleConfig.model_validate(dict(item)), rule)
    except ValueError:
        return False
