"""The narrowest useful rule for what a person allows for longer than once.

A rule for exactly one command asks again at the next file name, so development tools get their
subcommand and any arguments; everything else gets exactly what was approved.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence

from laguna_agent.actions import (
    Action,
    ApproveMcpTools,
    CallMcpTool,
    GitWrite,
    Network,
    ReadPath,
    RunCommand,
    WritePath,
)
from laguna_agent.config import RuleConfig
from laguna_agent.policy import rules, sensitive_paths
from laguna_agent.policy.analysed import CommandAnalysis
from laguna_agent.policy.command_analysis import analyse

_RUNNERS = frozenset(
    {
        "pytest",
        "ruff",
        "mypy",
        "black",
        "isort",
        "flake8",
        "pylint",
        "pyright",
        "tox",
        "nox",
        "eslint",
        "prettier",
        "tsc",
        "jest",
        "vitest",
        "mocha",
        "ctest",
        "ninja",
        "rspec",
        "rubocop",
        "phpunit",
        "golangci-lint",
        "shellcheck",
        "clang-format",
        "clang-tidy",
        "gofmt",
        "rustfmt",
    }
)
"""Programs whose arguments only select what is checked or built in the workspace."""

_SUBCOMMANDS: dict[str, frozenset[str]] = {
    "cargo": frozenset({"build", "check", "test", "clippy", "fmt", "doc", "bench"}),
    "go": frozenset({"build", "test", "vet", "fmt"}),
    "npm": frozenset({"test", "ci"}),
    "yarn": frozenset({"test", "build", "lint"}),
    "pnpm": frozenset({"test", "build", "lint"}),
    "dotnet": frozenset({"build", "test", "format"}),
    "mvn": frozenset({"compile", "test", "verify"}),
    "git": frozenset({"add", "commit"}),
    "uv": frozenset({"sync", "lock"}),
}
_TWO_WORDS = {("npm", "run"), ("yarn", "run"), ("pnpm", "run")}
_MODULES = frozenset({"pytest", "unittest", "mypy", "ruff", "black", "compileall"})


def narrowest_rule(
    action: Action, root: str, objection: Callable[[CommandAnalysis], str | None]
) -> RuleConfig | None:
    """The narrowest useful rule that covers this action, or None.

    `root` is the workspace; `objection` says why a command is not allowed as read-only.
    """
    match action:
        case ReadPath(path=path):
            secret = sensitive_paths.secret_reason(path, root)
            return None if secret else RuleConfig(verdict="allow", path=rules.escaped(path))
        case WritePath(path=path):
            return RuleConfig(verdict="allow", path=rules.escaped(path), write=True)
        case RunCommand():
            return _command_rule(action, objection)
        case Network(host=host):
            return RuleConfig(verdict="allow", host=host)
        case GitWrite(operation=operation):
            return RuleConfig(verdict="allow", command=f"git {operation} *")
        case CallMcpTool(server=server, tool=name):
            return RuleConfig(verdict="allow", mcp=f"{server}/{name}")
        case ApproveMcpTools():
            return None  # what was approved is kept word by word


def _command_rule(
    action: RunCommand, objection: Callable[[CommandAnalysis], str | None]
) -> RuleConfig | None:
    """A rule for the one simple command of a line that needs approval."""
    analysis = analyse(action.command, sensitive_paths.real(action.cwd))
    if not analysis.script.exact or analysis.script.writes:
        return None
    asked = [
        command
        for command in analysis.commands
        if objection(CommandAnalysis(analysis.script, [command], analysis.cwds))
    ]
    if len(asked) != 1 or (values := asked[0].simple.values) is None:
        return None
    pattern = suggested_words(values)
    return None if pattern is None else RuleConfig(verdict="allow", command=pattern)


def suggested_words(words: Sequence[str]) -> str | None:
    """The pattern of a rule for these words, or None when no useful rule is narrow enough."""
    if not words or any(re.search(r"[*?\[\x00-\x1f]", word) for word in words):
        return None  # as a pattern the rule would cover more than was approved
    name = os.path.basename(words[0])
    if words[0] != name:
        return shlex.join(words)
    if name in _RUNNERS:
        return f"{name} *"
    if len(words) > 1 and words[1] in _SUBCOMMANDS.get(name, ()):
        return f"{name} {words[1]} *"
    if len(words) > 2 and tuple(words[:2]) in _TWO_WORDS:
        return shlex.join(words[:3])
    runs_module = len(words) > 2 and name in ("python", "python3") and words[1] == "-m"
    if runs_module and words[2] in _MODULES:
        return f"{name} -m {words[2]} *"
    return shlex.join(words)
