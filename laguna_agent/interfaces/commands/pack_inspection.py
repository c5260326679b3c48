"""What looking at packs from the command line needs: folders, model, tools; trust respected."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from laguna_agent.config import Config, load_config
from laguna_agent.interfaces.commands.pack_cost import Meter, Subject, find_subject
from laguna_agent.models.chat import FORMATS
from laguna_agent.paths import config_dir, repository_root
from laguna_agent.prompts.loader.layers import Layer
from laguna_agent.prompts.loader.lint import lint_pack
from laguna_agent.prompts.loader.pack import Pack, load_pack
from laguna_agent.prompts.loader.problems import Problem
from laguna_agent.tools.tool import Tool


@dataclass
class Desk:
    """What all commands need: folders, configuration, model, tools; each made when asked for."""

    model: str | None = None

    @cached_property
    def root(self) -> Path:
        """The repository."""
        return repository_root(Path.cwd())

    @cached_property
    def project(self) -> Path | None:
        """The repository's packs, when it is trusted."""
        from laguna_agent.policy.trust import is_trusted

        folder = self.root / ".laguna" / "prompts"
        if not folder.is_dir():
            return None
        if is_trusted(self.root):
            return folder
        sys.stderr.write(f"note: {folder} is not read, since this repository is not trusted\n")
        return None

    @property
    def directories(self) -> list[Path]:
        """Folders of packs, in order of priority."""
        own = config_dir() / "prompts"
        return [self.project, own] if self.project else [own]

    @cached_property
    def config(self) -> Config:
        """The configuration, without the repository's."""
        return load_config()

    @cached_property
    def subject(self) -> Subject:
        """The model that packs are looked at for."""
        return find_subject(self.model, self.config)

    @cached_property
    def builtin(self) -> dict[str, Tool]:
        """The built-in tools."""
        from laguna_agent.tools.registry import builtin_tools

        return builtin_tools()

    def load(self, name: str | None) -> Pack:
        """A pack; by default the one that a session would use."""
        name = name or self.config.pack
        return load_pack(name, model_name=self.subject.name, directories=self.directories)

    def origin(self, layer: Layer) -> str:
        """Where a folder comes from, in a word."""
        if layer.built_in:
            return "built-in"
        parent = layer.directory.parent
        if parent == self.project:
            return "project"
        return "user" if parent == config_dir() / "prompts" else str(layer.directory)

    def target(self, pack: str, *, project: bool) -> Path:
        """The folder in which a person's own version of a pack lies."""
        base = self.root / ".laguna" / "prompts" if project else config_dir() / "prompts"
        return base / pack

    def lint(self, name: str, meter: Meter) -> list[Problem]:
        """Problems of one pack."""
        return lint_pack(
            name,
            model_name=self.subject.name,
            directories=self.directories,
            builtin=self.builtin,
            chat_formats=FORMATS,
            count=lambda pack, _: meter.prefix_tokens(pack, self.builtin),
            exact=meter.exact,
        )
