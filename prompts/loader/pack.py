"""A loaded prompt pack: renders the prompt and its messages, declares the tools."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from laguna_agent.errors import UsageError, did_you_mean
from laguna_agent.prompts.loader.declare import PackTool, declare
from laguna_agent.prompts.loader.layers import (
    MANIFEST,
    TOOLS,
    Stack,
    build_stack,
    choose_pack,
    stamp,
)
from laguna_agent.prompts.loader.manifest import Manifest, PackLimits, ReminderSpec
from laguna_agent.prompts.loader.problems import PackError, Problem
from laguna_agent.prompts.loader.reminders import Reminder, Reminders
from laguna_agent.prompts.loader.templates import (
    DYNAMIC,
    REMINDER,
    SYSTEM,
    StaticVariables,
    TemplateRenderer,
    check_template,
    is_static,
    reaches_super,
    values_of,
)
from laguna_agent.prompts.loader.tool_file import ToolFile, ToolText, read_tool
from laguna_agent.tools.registry import BUILT_IN
from laguna_agent.tools.tool import Tool

__all__ = ["Pack", "PackTool", "load_pack"]


@dataclass
class Pack:
    """A prompt pack. Create with `load_pack`."""

    name: str
    stack: Stack
    sources: dict[str, list[tuple[Path, str, int]]]
    """Every version of each file, nearest first: path, text, and lines above the text."""
    tool_files: dict[str, ToolText]
    parts: dict[str, str]
    """The content of each file, as far as it can reach the model."""
    _reload: partial[Pack]
    _renderer: TemplateRenderer = field(init=False)

    def __post_init__(self) -> None:
        self._renderer = TemplateRenderer(lambda name: self.sources.get(name, []))

    @cached_property
    def sha256(self) -> str:
        """Digest of everything that can reach the model."""
        text = json.dumps(self.parts, ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def manifest(self) -> Manifest:
        """The merged `pack.toml` files."""
        return self.stack.manifest

    @property
    def description(self) -> str:
        """One line for users."""
        return self.manifest.description

    @property
    def limits(self) -> PackLimits:
        """Limits that the pack sets."""
        return self.manifest.limits

    @property
    def sampling(self) -> dict[str, float | int]:
        """Overrides of the sampling that the model recommends."""
        return self.manifest.sampling.model_dump(exclude_none=True)

    @property
    def chat_format(self) -> str | None:
        """A chat format to use in place of the model's own."""
        return self.manifest.chat_format

    @property
    def thinking(self) -> bool | None:
        """Whether the model thinks before it answers; None means the model's default."""
        return self.manifest.thinking

    @property
    def thinking_budget(self) -> int | None:
        """Tokens of thinking in one reply."""
        return self.manifest.thinking_budget

    @property
    def toolset(self) -> tuple[str, ...] | None:
        """Names of the tools to declare, in order; None means every enabled one."""
        return None if self.manifest.tools is None else tuple(self.manifest.tools)

    def has(self, name: str) -> bool:
        """Whether the pack has a file of this name."""
        return name in self.sources

    def system(self, variables: StaticVariables) -> str:
        """Render the static system prompt. Equal variables give equal text, byte for byte."""
        return self._renderer.render(SYSTEM, values_of(variables))

    def text(self, name: str, **variables: Any) -> str:
        """Render a message to append from the template `name` (`first.md`, `check_failed.md`, …).

        Other variables have the defaults of `templates.DYNAMIC`. Raises PackError when the
        template fails, and KeyError when there is no such template or variable.
        """
        known = DYNAMIC[name]
        unknown = set(variables) - set(known)
        if unknown:
            raise KeyError(f"{name} has no variable {', '.join(sorted(unknown))}")
        return self._renderer.render(name, {**known, **variables})

    def reminders(self) -> Reminders:
        """The reminders of a new turn, none of them used yet."""
        return Reminders(
            [
                Reminder(name, spec, self._reminder_text(name))
                for name, spec in self.manifest.reminders.items()
                if spec.enabled
            ]
        )

    def _reminder_text(self, name: str) -> Any:
        spec = self.manifest.reminders[name]

        def render(values: Mapping[str, Any]) -> str:
            if spec.file is not None:
                return self._renderer.render(spec.file, values)
            path = self.stack.find("pack.toml")[0]
            return self._renderer.render_text(spec.text or "", values, path=path, line=1)

        return render

    def tool_names(self, builtin: Iterable[str]) -> list[str]:
        """The tools that this pack declares, built-in ones and its own, in order."""
        order = BUILT_IN if self.toolset is None else self.toolset
        own = {n for n, text in self.tool_files.items() if self._declares_own(text.head)}
        known = {*builtin, *own}
        names = [n for n in order if n in known]
        rest = own if self.toolset is not None else known
        # `done` comes last.
        end = names.index("done") if "done" in names else len(names)
        names[end:end] = sorted(rest - set(names))
        return [n for n in names if n not in self.tool_files or self.tool_files[n].head.enabled]

    def _declares_own(self, head: ToolFile) -> bool:
        wanted = self.manifest.own_tools
        return head.command is not None and (
            wanted == "all" or (wanted == "read" and head.kind == "read")
        )

    def tools(
        self, builtin: Mapping[str, Tool], variables: StaticVariables | None = None
    ) -> list[PackTool]:
        """The declared tools, in order. The pack's own tools need `shell` in `builtin`. Raises
        PackError."""
        names = self.tool_names(builtin)
        static = variables or StaticVariables(model="", format="", tools=tuple(names))
        declared = []
        for name in names:
            text = self.tool_files.get(name)
            body = self._renderer.render(f"{TOOLS}/{name}.md", values_of(static)) if text else ""
            declared.append(
                declare(
                    name,
                    text,
                    body,
                    builtin,
                    max_output=self.limits.result_chars,
                    render=self._renderer.render_text,
                )
            )
        return declared

    def check(self) -> list[Problem]:
        """Problems that make the pack unusable or its prefix change; `lint` has the others."""
        problems: list[Problem] = []
        for name in (SYSTEM, *DYNAMIC):
            if name not in self.sources:
                folder = self.stack.layers[0].directory
                problems.append(Problem(folder, None, f"the pack has no {name}"))
        for name in self.sources:
            if name in DYNAMIC or is_static(name):
                problems += self._renderer.check(name)
        for name, spec in self.manifest.reminders.items():
            if spec.enabled:
                problems += self._check_reminder(name, spec)
        return list(dict.fromkeys(problems))

    def _check_reminder(self, name: str, spec: ReminderSpec) -> list[Problem]:
        """Problems of a reminder, which would otherwise show in the middle of a turn."""
        if spec.text is not None:
            path, line = self.stack.position("reminders", name, "text")
            return check_template(spec.text, path, REMINDER, first=line or 1, static=False)
        if spec.file is None:
            return []
        if spec.file not in self.sources:
            path, line = self.stack.position("reminders", name, "file")
            fix = did_you_mean(spec.file, self.sources)
            return [Problem(path, line, f"there is no file {spec.file}", fix)]
        problems = []
        for path, text, offset in self.sources[spec.file]:
            problems += check_template(text, path, REMINDER, first=offset + 1, static=False)
            if not reaches_super(text):
                break
        return problems

    def reload(self) -> Pack:
        """Load the pack again, for the next conversation. Raises like `load_pack`."""
        return self._reload()

    def stamp(self) -> object:
        """A value that stays equal until a file of this pack changes."""
        folders = [layer.directory for layer in self.stack.layers]
        return stamp(self._reload.keywords["directories"], folders)

    def changed_files(self, other: Pack) -> list[str]:
        """Names of the files whose content differs in `other`, this pack loaded again."""
        names = {*self.parts, *other.parts}
        return sorted(n for n in names if self.parts.get(n) != other.parts.get(n))

    def changed(self) -> bool:
        """Whether the files on disk now give another pack, or one that fails to load."""
        try:
            return self._reload().sha256 != self.sha256
        except UsageError:
            return True


def load_pack(
    name: str | None,
    *,
    model_name: str,
    parameters: int = 0,
    directories: Sequence[Path] = (),
    check: bool = True,
) -> Pack:
    """Load a pack by name, by folder (a path with a `/`), or for a model.

    `directories` are folders of packs in order of priority: the trusted project's
    `.laguna/prompts`, the user's `prompts`; the built-in packs come last. Raises PackError, or
    UsageError when there is no such pack. With `check` false, the caller calls `Pack.check`.
    """
    reload = partial(
        load_pack,
        name,
        model_name=model_name,
        parameters=parameters,
        directories=tuple(directories),
        check=check,
    )
    folder = None
    if name is not None and ("/" in name or name in (".", "..")):
        folder = Path(name).expanduser().resolve()
        if not folder.is_dir():
            raise UsageError(f"there is no prompt pack folder {folder}")
        name = folder.name
    name = name or choose_pack(model_name, directories, parameters=parameters)
    stack = build_stack(
        name, directories, model_name=model_name, parameters=parameters, folder=folder
    )
    sources, tools = _read(stack)
    pack = Pack(name, stack, sources, tools, _parts(stack, sources, tools), reload)
    problems = pack.check() if check else []
    if problems:
        raise PackError(problems)
    return pack


_Sources = dict[str, list[tuple[Path, str, int]]]


def _read(stack: Stack) -> tuple[_Sources, dict[str, ToolText]]:
    sources: _Sources = {}
    tools: dict[str, ToolText] = {}
    for name in stack.names():
        versions = stack.find(name)
        if name.startswith(f"{TOOLS}/"):
            read = [read_tool(path) for path in versions]
            tools[Path(name).stem] = read[0]
            sources[name] = [(text.path, _body(text.body), text.offset) for text in read]
        elif name.endswith(".md"):
            sources[name] = [(path, _body(_utf8(path)), 0) for path in versions]
    return sources, tools


def _utf8(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PackError([Problem(path, None, f"cannot be read as UTF-8 text: {error}")]) from error


def _body(text: str) -> str:
    # Editors end files with a newline; the model does not need it.
    return text.removesuffix("\n")


def _parts(stack: Stack, sources: _Sources, tools: Mapping[str, ToolText]) -> dict[str, str]:
    """The merged manifest, and of each file the versions that are rendered."""
    manifest = stack.manifest.model_dump(mode="json", exclude={"description", "models"})
    parts: dict[str, object] = {MANIFEST: manifest}
    for name in sorted(sources):
        reached: list[object] = []
        for _, text, _ in sources[name]:
            reached.append(text)
            if not reaches_super(text):
                break
        parts[name] = reached
        if name.startswith(f"{TOOLS}/"):
            reached.append(tools[Path(name).stem].head.model_dump(mode="json"))
    return {name: json.dumps(part, sort_keys=True) for name, part in parts.items()}
