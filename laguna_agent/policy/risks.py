"""What a person should see in red before allowing an action.

Judged by the words of a command, as rules are: what a script does inside is not seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from laguna_agent.actions import (
    Action,
    ApproveMcpTools,
    CallMcpTool,
    GitWrite,
    Network,
    ReadPath,
    Risk,
    RunCommand,
    WritePath,
)
from laguna_agent.policy import sensitive_paths
from laguna_agent.policy.analysed import CommandAnalysis
from laguna_agent.policy.command_analysis import analyse
from laguna_agent.policy.git_references import reference_reason
from laguna_agent.policy.git_table import without_globals
from laguna_agent.policy.irreversible import loss
from laguna_agent.policy.secret_reads import Permits, shown_secret
from laguna_agent.policy.shell_syntax import SimpleCommand
from laguna_agent.policy.wrappers import visible_commands

_OTHER_USER = frozenset({"sudo", "doas", "su", "pkexec", "run0"})
_DEVICE = re.compile(r"mkfs(\..+)?|fdisk|sfdisk|parted|wipefs|blkdiscard|mkswap")
_MACHINE = frozenset({"shutdown", "reboot", "poweroff", "halt", "kexec"})
_PUBLISHING: dict[str, frozenset[str]] = {
    "git": frozenset({"push", "send-email"}),
    "npm": frozenset({"publish", "unpublish", "deprecate"}),
    "yarn": frozenset({"publish"}),
    "pnpm": frozenset({"publish"}),
    "cargo": frozenset({"publish", "yank"}),
    "gem": frozenset({"push", "yank"}),
    "twine": frozenset({"upload"}),
    "uv": frozenset({"publish"}),
    "poetry": frozenset({"publish"}),
    "docker": frozenset({"push"}),
    "podman": frozenset({"push"}),
    "gh": frozenset({"release", "pr", "issue", "api", "repo", "workflow"}),
    "kubectl": frozenset({"apply", "delete", "create", "replace", "patch", "scale", "drain"}),
    "terraform": frozenset({"apply", "destroy"}),
    "helm": frozenset({"install", "upgrade", "uninstall", "rollback"}),
}
_LOOKS_ONLY = frozenset({"list", "view", "status", "diff", "checks", "--dry-run", "-n", "--help"})
"""Words with which a publishing command only looks or tries."""


def risks(action: Action, root: str, permits: Permits) -> list[Risk]:
    """What makes an action risky, the worst first. `root` is the workspace, `permits` says which
    paths a rule allows to be read."""
    match action:
        case RunCommand():
            analysis = analyse(action.command, sensitive_paths.real(action.cwd))
            return list(dict.fromkeys(_of_command(action.command, analysis, root, permits)))
        case GitWrite(operation=operation, detail=detail):
            lost = loss(analyse(f"git {operation} {detail}", root), root)
            return [Risk(text=lost, lasting=True)] if lost else []
        case WritePath(path=path):
            return list(_of_write(path, root))
        case ReadPath(path=path):
            reason = None if permits(path) else sensitive_paths.secret_reason(path, root)
            return [Risk(text=reason)] if reason else []
        case CallMcpTool(place=place):
            free = place in ("machine", "remote")
            text = "it acts outside the sandbox, where laguna can undo nothing"
            return [Risk(text=text)] if free else []
        case ApproveMcpTools(changed=changed):
            text = "the server says something else than what was approved"
            return [Risk(text=text)] if changed else []
        case Network():
            return []


def _of_write(path: str, root: str) -> Iterator[Risk]:
    reason = sensitive_paths.protected_reason(path, root) or reference_reason(path, root)
    if reason:
        yield Risk(text=reason)
    if not sensitive_paths.is_under(sensitive_paths.real(path), root):
        yield Risk(text="it is outside the workspace, where laguna can undo nothing")


def _of_command(
    command: str, analysis: CommandAnalysis, root: str, permits: Permits
) -> Iterator[Risk]:
    if lost := loss(analysis, root):
        yield Risk(text=lost, part=_losing_part(analysis, root, lost), lasting=True)
    for simple, seen in visible_commands(command):
        if not seen:
            hidden = "it hides what it runs, so laguna cannot tell what it does"
            yield Risk(text=hidden, part=_shown(simple, command))
        elif why := _of_words([word.value or "" for word in simple.words]):
            yield Risk(text=why, part=_shown(simple, command))
    if secret := shown_secret(analysis, permits):
        yield Risk(text=f"it shows a secret: {secret}")


def _losing_part(analysis: CommandAnalysis, root: str, reason: str) -> str:
    """The text of the simple command that loses something, if it is one alone."""
    losing = [
        command.simple.text
        for command in analysis.commands
        if loss(CommandAnalysis(analysis.script, [command], analysis.cwds), root) == reason
    ]
    return losing[0] if len(losing) == 1 else ""


def _shown(simple: SimpleCommand, command: str) -> str:
    """The text of a simple command, if it stands like that in the command line."""
    return simple.text if simple.text in command else ""


def _of_words(words: list[str]) -> str | None:
    """Why the words of a simple command are risky, or None."""
    name = os.path.basename(words[0]) if words else ""
    if name in _OTHER_USER:
        return f"{name} runs it with the rights of another user"
    if _DEVICE.fullmatch(name) or (
        name == "dd" and any(re.match(r"of=/dev/(?!null|zero|std)", word) for word in words)
    ):
        return "it writes to a disk directly"
    if name in _MACHINE:
        return "it stops this machine"
    rest = without_globals(words[1:]) if name == "git" else words[1:]
    if rest[:1] and rest[0] in _PUBLISHING.get(name, ()) and not _LOOKS_ONLY & set(rest):
        return f"`{name} {rest[0]}` changes something outside this machine"
    return None
