"""Skills in the agentskills.io format: a folder with a `SKILL.md`, listed in one line each.

The model sees name and description in the first user message and reads the rest with the read
tool: `skill:NAME`, or `skill:NAME/FILE` for another file of the folder. That costs nothing in the
static prefix, and reaches the user's own skills, which are outside the workspace. A person calls
one with `/NAME words`: its text is then attached to the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from laguna_agent.actions import Action
from laguna_agent.events import Notice
from laguna_agent.tools.tool import Tool, ToolArguments, ToolContext, ToolKind, ToolResult

PREFIX = "skill:"
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_CALL = re.compile(r"/([a-z0-9]+(?:-[a-z0-9]+)*)(?:\s+(.*))?", re.DOTALL)
_MAX_DESCRIPTION = 1024
_MAX_BYTES = 256 << 10
_LINE = 200
"""Characters of a description in the list; the whole is in the file."""


Accepts = Callable[[Path], bool]
"""Whether a file may be read as it is now: one of a repository must be as it was trusted."""


@dataclass(frozen=True)
class Skill:
    """One skill. `body` is read when it is called."""

    name: str
    description: str
    directory: Path
    accepts: Accepts = field(default=lambda path: True, compare=False, repr=False)

    @property
    def path(self) -> Path:
        """Its SKILL.md."""
        return self.directory / "SKILL.md"

    def body(self) -> str:
        """The text after the front matter. Raises OSError, ValueError when it may not be read."""
        return split_yaml_front_matter(self.read(self.path))[1].strip()

    def full_text(self) -> str:
        """The body, and the names of the folder's other files. Raises as `body` does."""
        names = list(_other_files(self.directory))
        files = f"\n\nIn {self.directory}, or read skill:{self.name}/FILE: {', '.join(names)}"
        return self.body() + (files if names else "")

    def read(self, path: Path) -> str:
        """One of its files. Raises OSError, ValueError when it may not be read or is too large."""
        if not self.accepts(path):
            raise ValueError(f"{path.name} changed since it was trusted")
        return _read(path)


def find_skills(
    directories: Sequence[Path], accepts: Accepts = lambda path: True
) -> tuple[list[Skill], list[Notice]]:
    """Skills in `directories`, of which the first of a name wins; notices for unusable ones.

    Pass the trusted project's `.laguna/skills` first, then the user's `skills`.
    """
    skills: dict[str, Skill] = {}
    notices = []
    for directory in directories:
        for folder in sorted(directory.iterdir()) if directory.is_dir() else []:
            path = folder / "SKILL.md"
            if not path.is_file():
                continue
            try:
                skill = read_skill(path, accepts)
            except (ValueError, OSError) as error:
                notices.append(_notice(path, str(error)))
                continue
            skills.setdefault(skill.name, skill)
    return [skills[name] for name in sorted(skills)], notices


def _notice(path: Path, why: str) -> Notice:
    return Notice(level="warning", text=f"Skill {path} not loaded: {why}.")


def read_skill(path: Path, accepts: Accepts = lambda path: True) -> Skill:
    """Read the front matter of one SKILL.md. Raises ValueError with what is wrong, OSError."""
    import yaml

    if not accepts(path):
        raise ValueError("it changed since it was trusted")
    front, _ = split_yaml_front_matter(_read(path))
    if not front:
        raise ValueError("it does not begin with front matter between lines of `---`")
    try:
        data = yaml.safe_load(front)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        line = f" (line {mark.line + 2})" if mark else ""
        raise ValueError(f"its front matter is not YAML{line}; quote values with a colon") from None
    name, description = (
        (data.get("name"), data.get("description")) if isinstance(data, dict) else (None, None)
    )
    if not isinstance(name, str) or not isinstance(description, str) or not description.strip():
        raise ValueError("its front matter needs `name` and `description`")
    if not _NAME.fullmatch(name) or len(name) > 64:
        raise ValueError(
            f"`{name}` is not a skill name: lower-case letters, digits and single dashes"
        )
    if name != path.parent.name:
        raise ValueError(f"its name is `{name}`, but its folder is `{path.parent.name}`")
    if len(description) > _MAX_DESCRIPTION:
        raise ValueError(f"its description has more than {_MAX_DESCRIPTION} characters")
    return Skill(name, " ".join(description.split()), path.parent, accepts)


def split_yaml_front_matter(text: str) -> tuple[str, str]:
    """YAML front matter and the rest; the front matter is empty when there is none."""
    lines = text.lstrip("\ufeff").split("\n")
    if lines[0].strip() != "---":
        return "", text
    for number, line in enumerate(lines[1:], start=1):
        if line.strip() in ("---", "..."):
            return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :])
    return "", text


def _read(path: Path) -> str:
    with path.open("rb") as stream:
        raw = stream.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES >> 10} KiB")
    return raw.decode("utf-8", errors="replace").replace("\r\n", "\n")


def list_skills(skills: Sequence[Skill]) -> str:
    """One line for each skill, for the variable `skills` of `first.md`."""
    return "\n".join(f"- {skill.name}: {_short(skill.description)}" for skill in skills)


def _short(text: str) -> str:
    return text if len(text) <= _LINE else text[: _LINE - 1].rsplit(" ", 1)[0] + "…"


def called_skill(text: str, skills: Sequence[Skill]) -> Skill | None:
    """The skill that a message `/NAME words` calls, or None."""
    match = _CALL.fullmatch(text.strip())
    return next((skill for skill in skills if match and skill.name == match[1]), None)


def skill_context(skill: Skill, limit: int) -> str:
    """The context of a message that calls a skill, in about `limit` characters.

    Raises OSError, ValueError when the skill can no longer be read.
    """
    lines, cut = _part(skill.full_text(), limit, 1, None)
    how = f"\n[… cut; read skill:{skill.name} from line {cut} on]" if cut else ""
    return f"The user calls the skill {skill.name}. Do as it says:\n{lines}{how}"


def _part(text: str, limit: int, start: int, end: int | None) -> tuple[str, int | None]:
    """Lines `start` to `end` (from 1) as far as they fit, and the first that does not."""
    kept: list[str] = []
    left = limit
    for number, line in enumerate(text.split("\n")[start - 1 : end], start):
        if len(line) + 1 > left:
            return ("\n".join(kept), number) if kept else (line[:limit], number + 1)
        left -= len(line) + 1
        kept.append(line)
    return "\n".join(kept), None


class SkillReader:
    """The read tool, extended to `skill:` paths. `skills` are those in the first message."""

    name = "read"
    kind: ToolKind = "read"

    def __init__(self, read: Tool, skills: Sequence[Skill]) -> None:
        self.read = read
        self.skills = {skill.name: skill for skill in skills}
        self.description = read.description
        self.arguments: type[ToolArguments] = read.arguments
        self.example = read.example

    def title(self, arguments: Any, context: ToolContext) -> str:
        """`Read skill NAME`, or the title of the read tool."""
        if _is_skill(arguments):
            return f"Read skill {arguments.path.removeprefix(PREFIX)}"
        return self.read.title(arguments, context)

    def actions(self, arguments: Any, context: ToolContext) -> list[Action]:
        """None for a skill: reading what the user installed has no side effect."""
        return [] if _is_skill(arguments) else self.read.actions(arguments, context)

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        """The skill's text with the names of its files, or the result of the read tool."""
        if not _is_skill(arguments):
            return await self.read.run(arguments, context)
        name, _, rest = arguments.path.removeprefix(PREFIX).strip().partition("/")
        skill = self.skills.get(name)
        if skill is None:
            known = ", ".join(self.skills) or "none"
            return ToolResult(ok=False, content=f"There is no skill {name}. Skills: {known}.")
        try:
            text = self._file(skill, rest) if rest else skill.full_text()
        except (OSError, ValueError) as error:
            return ToolResult(ok=False, content=f"skill:{name}: {error}")
        start = arguments.start or 1
        kept, cut = _part(text, context.max_output_chars, start, arguments.end)
        more = f"\n[… cut; read on from line {cut}]" if cut else ""
        return ToolResult(ok=True, content=kept + more, summary="skill", truncated=bool(cut))

    def _file(self, skill: Skill, rest: str) -> str:
        target = (skill.directory / rest).resolve()
        if not target.is_relative_to(skill.directory.resolve()):
            raise ValueError(f"{rest} is outside the skill")
        if not target.is_file():
            raise ValueError(
                f"there is no {rest}. Files: {', '.join(_other_files(skill.directory))}"
            )
        return skill.read(target)


def reading_skills(read: Tool, skills: Sequence[Skill]) -> Tool:
    """The read tool, extended to `skill:` paths; `read` itself when there are no skills."""
    return cast(Tool, SkillReader(read, skills)) if skills else read


def _is_skill(arguments: Any) -> bool:
    return str(arguments.path).startswith(PREFIX)


def _other_files(directory: Path) -> Iterator[str]:
    for path in sorted(directory.rglob("*"))[:200]:
        if path.is_file() and path.name != "SKILL.md":
            yield str(path.relative_to(directory))
