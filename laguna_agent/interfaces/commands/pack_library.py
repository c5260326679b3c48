"""The prompt packs that this user, repository and model have; a repository's once it is trusted."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from laguna_agent.config import Config, load_config
from laguna_agent.interfaces.commands.pack_cost import TargetModel, TokenMeter, find_target
from laguna_agent.models.chat import FORMATS
from laguna_agent.paths import config_dir, repository_root
from laguna_agent.prompts.loader.layers import Layer, choose_pack
from laguna_agent.prompts.loader.lint import lint_pack
from laguna_agent.prompts.loader.pack import Pack, load_pack
from laguna_agent.prompts.loader.problems import Problem
from laguna_agent.tools.tool import Tool


@dataclass
class PackLibrary:
    """Packs with their folders, configuration, model and tools; each is made on first use."""

    model: str | None = None

    @cached_property
    def root(self) -> Path:
        """The repository."""
        return repository_root(Path.cwd())

    @cached_property
    def project(self) -> Path | None:
        """Folder of the repository's packs; None when there is none or it is not trusted."""
        from laguna_agent.policy.trust import is_trusted

        folder = self.root / ".laguna" / "prompts"
        if not folder.is_dir():
            return None
        if is_trusted(self.root):
            return folder
        sys.stderr.write(f"note: {folder} is not read: this repository is not trusted\n")
        return None

    @property
    def directories(self) -> list[Path]:
        """Folders of packs, the first with the highest priority."""
        own = config_dir() / "prompts"
        return [self.project, own] if self.project else [own]

    @cached_property
    def config(self) -> Config:
        """The configuration, as a session here would have it."""
        from laguna_agent.policy import trust

        trusted = trust.is_trusted(self.root)
        return load_config(project=self.root / trust.SETTINGS / "config.toml" if trusted else None)

    @cached_property
    def target(self) -> TargetModel:
        """The model that packs are rendered for."""
        return find_target(self.model, self.config)

    @property
    def chosen(self) -> str:
        """The pack that the model uses by default."""
        target = self.target
        return choose_pack(target.name, self.directories, parameters=target.parameters)

    @cached_property
    def builtin(self) -> dict[str, Tool]:
        """The built-in tools."""
        from laguna_agent.tools.registry import builtin_tools

        return builtin_tools()

    def load(self, name: str | None) -> Pack:
        """Load a pack; by default the one that a session would use."""
        name = name or self.config.pack
        return load_pack(
            name,
            model_name=self.target.name,
            parameters=self.target.parameters,
            directories=self.directories,
        )

    def origin(self, layer: Layer) -> str:
        """Where a layer comes from: built-in, project, user, or its folder."""
        if layer.built_in:
            return "built-in"
        parent = layer.directory.parent
        if parent == self.project:
            return "project"
        return "user" if parent == config_dir() / "prompts" else str(layer.directory)

    def own_folder(self, pack: str, *, project: bool) -> Path:
        """Folder of the user's version of a pack, or of the repository's if `project`."""
        base = self.root / ".laguna" / "prompts" if project else config_dir() / "prompts"
        return base / pack

    def lint(self, name: str, meter: TokenMeter) -> list[Problem]:
        """Problems of a pack, its token budget measured by `meter`."""
        return lint_pack(
            name,
            model_name=self.target.name,
            directories=self.directories,
            builtin=self.builtin,
            chat_formats=FORMATS,
            count=lambda pack, _: meter.prefix_tokens(pack, self.builtin),
            exact=meter.exact,
        )
