"""What the analysis of a command line says about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from laguna_agent.policy.shell_syntax import Script, SimpleCommand

Class = Literal["read-only", "ordinary", "unknown"]


@dataclass(frozen=True)
class Walk:
    """A folder whose files a command shows, and which of them it leaves out."""

    folder: str
    tracked_only: bool = False
    hidden: bool = True
    ignored: bool = True
    names: tuple[str, ...] = ()
    """Patterns of the only names that are shown; empty for all."""


@dataclass
class AnalysedCommand:
    """One simple command with its class.

    `reads` are the absolute paths it names or walks; `contents` says that it shows the contents of
    files below the directories among them; `git_at` are the directories where it runs git.
    """

    simple: SimpleCommand
    verdict: Class
    reason: str
    reads: list[str] = field(default_factory=list)
    contents: bool = False
    git_at: list[str] = field(default_factory=list)
    program: str = ""
    """The name that is looked up in the search path; empty for builtins."""
    shows: bool = True
    """Whether it prints what is in the files that it reads."""
    walks: list[Walk] = field(default_factory=list)
    cwd: str = ""
    """Where it most likely runs: every `cd` before it succeeded."""


@dataclass
class CommandAnalysis:
    """A whole command line with its simple commands."""

    script: Script
    commands: list[AnalysedCommand]
    cwds: list[str]
    """Directories in which the shell may be afterwards."""
    input_files: list[str] = field(default_factory=list)
    """Files that input is redirected from."""

    @property
    def read_only(self) -> bool:
        """Whether the command line is proved to be read-only."""
        return self.script.exact and not self.script.writes and self.all_read

    @property
    def all_read(self) -> bool:
        """Whether every simple command is read-only, redirections aside."""
        return bool(self.commands) and all(c.verdict == "read-only" for c in self.commands)

    @property
    def reason(self) -> str:
        """Why it is not proved to be read-only, in a few words; empty if it is."""
        if self.script.problems:
            return f"the command {self.script.problems[0]}"
        for command in self.commands:
            if command.verdict != "read-only":
                return command.reason
        if self.script.writes:
            return f"it writes to {self.script.writes[0].text}"
        return "" if self.commands else "the command is empty"
