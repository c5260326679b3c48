"""Lint: checks a pack as far as possible without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from laguna_agent.errors import LagunaError, did_you_mean
from laguna_agent.prompts.loader.command import command_problems
from laguna_agent.prompts.loader.layers import MANIFEST, TOOLS, Layer
from laguna_agent.prompts.loader.pack import Pack, load_pack
from laguna_agent.prompts.loader.problems import PackError, Problem
from laguna_agent.prompts.loader.templates import (
    DYNAMIC,
    RESULT,
    SYSTEM,
    StaticVariables,
    check_template,
)
from laguna_agent.prompts.loader.tool_file import ToolText, read_tool
from laguna_agent.toml_errors import key_line
from laguna_agent.tools.tool import Tool

CountTokens = Callable[[Pack, StaticVariables], int]
"""Counts the tokens of a pack's static prefix with the model's tokenizer."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NAME_HINT = "Use lower-case letters, digits and underscores."
_BUILT_IN_KEYS = ("doc", "hidden")


def lint_pack(
    name: str | None,
    *,
    model_name: str,
    directories: Sequence[Path],
    builtin: Mapping[str, Tool],
    chat_formats: Iterable[str] = (),
    count: CountTokens | None = None,
    static: StaticVariables | None = None,
    exact: bool = True,
) -> list[Problem]:
    """All problems of a pack, errors first. `count` is called only when there are no errors; when
    it is not `exact`, an exceeded budget is a warning."""
    try:
        pack = load_pack(name, model_name=model_name, directories=directories, check=False)
    except PackError as error:
        return list(error.problems)
    problems = pack.check()
    problems += _chat_format(pack, chat_formats)
    problems += _toolset(pack, builtin)
    for layer in pack.stack.layers:
        problems += _layer(layer, pack, builtin)
    problems = list(dict.fromkeys(problems))
    if not any(problem.severity == "error" for problem in problems):
        problems += _rendered(pack, builtin, count, static, exact=exact)
    return sorted(problems, key=lambda p: (p.severity != "error", str(p.path), p.line or 0))


def _chat_format(pack: Pack, formats: Iterable[str]) -> list[Problem]:
    known = set(formats)
    if not known or pack.chat_format is None or pack.chat_format in known:
        return []
    path, line = pack.stack.position("chat_format")
    message = f"there is no chat format `{pack.chat_format}`"
    return [Problem(path, line, message, did_you_mean(pack.chat_format, known))]


def _toolset(pack: Pack, builtin: Mapping[str, Tool]) -> list[Problem]:
    known = {*builtin, *pack.tool_files}
    problems = []
    for name in pack.toolset or ():
        path, line = pack.stack.position("tools")
        if name not in known:
            message = f"there is no tool `{name}`"
            problems.append(Problem(path, line, message, did_you_mean(name, known)))
        elif name in pack.tool_files and not pack.tool_files[name].head.enabled:
            message = f"the tool `{name}` is in `tools` but not enabled"
            fix = (
                f"Take it out of `tools`, or add a file tools/{name}.md that enables it: "
                f"{pack.tool_files[name].path} says `enabled = false`."
            )
            problems.append(Problem(path, line, message, fix, "warning"))
    return problems


def _layer(layer: Layer, pack: Pack, builtin: Mapping[str, Tool]) -> list[Problem]:
    if layer.built_in:
        return []
    problems = []
    used = {spec.file for spec in pack.manifest.reminders.values() if spec.file}
    known = [MANIFEST, SYSTEM, *DYNAMIC]
    for name in layer.files():
        path = layer.directory / name
        if name.startswith(f"{TOOLS}/"):
            problems += lint_tool(path, pack, builtin)
        elif name not in known and name not in used and not _included(pack, name):
            message = f"laguna reads no file called {name}"
            problems.append(Problem(path, None, message, did_you_mean(name, known), "warning"))
    return problems


def _included(pack: Pack, name: str) -> bool:
    pattern = re.compile(rf"""["']{re.escape(name)}["']""")
    return any(pattern.search(text) for found in pack.sources.values() for _, text, _ in found)


def lint_tool(path: Path, pack: Pack, builtin: Mapping[str, Tool]) -> list[Problem]:
    """Problems of one tool file of a pack."""
    try:
        text = read_tool(path)
    except PackError as error:
        return list(error.problems)
    name = path.stem
    if not _NAME.fullmatch(name):
        message = f"`{name}` is not a valid tool name"
        return [Problem(path, None, message, _NAME_HINT)]
    if text.head.command is None:
        return _lint_builtin(name, text, builtin)
    return _lint_command(name, text, pack, builtin)


def _at(text: ToolText, *location: str) -> int | None:
    return key_line(text.front, location, first=2)


def _lint_builtin(name: str, text: ToolText, builtin: Mapping[str, Tool]) -> list[Problem]:
    tool = builtin.get(name)
    if tool is None:
        fix = did_you_mean(name, builtin) + " A tool of your own needs `command`."
        return [Problem(text.path, None, f"there is no built-in tool `{name}`", fix.strip())]
    problems = []
    if text.head.kind not in (None, tool.kind):
        message = f"`{name}` has the kind {tool.kind}, which a pack cannot change"
        problems.append(Problem(text.path, _at(text, "kind"), message, "Remove the line."))
    for key in ("timeout", "output", "result", "ok_exit_codes"):
        if key in text.head.model_fields_set:
            message = f"`{key}` needs `command`, and `{name}` is a built-in tool"
            problems.append(Problem(text.path, _at(text, key), message, "Remove it."))
    fields = tool.arguments.model_fields
    for argument, spec in text.head.arguments.items():
        line = _at(text, "arguments", argument)
        if argument not in fields:
            message = f"`{name}` has no argument `{argument}`"
            problems.append(Problem(text.path, line, message, did_you_mean(argument, fields)))
        elif spec.hidden and fields[argument].is_required():
            message = f"`{argument}` is required, so it cannot be hidden"
            problems.append(Problem(text.path, line, message))
        for key in spec.model_fields_set - set(_BUILT_IN_KEYS):
            line = _at(text, "arguments", argument, key)
            message = f"`{key}` cannot be changed for an argument of a built-in tool"
            problems.append(Problem(text.path, line, message, "Only `doc` and `hidden` can."))
    return problems + _examples(text, tool)


def _lint_command(
    name: str, text: ToolText, pack: Pack, builtin: Mapping[str, Tool]
) -> list[Problem]:
    head = text.head
    if name in builtin:
        message = f"`{name}` is a built-in tool and cannot be given a command"
        return [Problem(text.path, _at(text, "command"), message, "Rename the file.")]
    problems = command_problems(text)
    if head.kind in ("plan", "done", "edit"):
        message = f"a command cannot be of kind {head.kind}"
        fix = "Use read, execute, git or network."
        problems.append(Problem(text.path, _at(text, "kind"), message, fix))
    if not text.body.strip():
        message = "the tool has no description, so the model cannot know when to use it"
        problems.append(
            Problem(text.path, text.offset, message, "Write it below the front matter.")
        )
    for argument, spec in head.arguments.items():
        line = _at(text, "arguments", argument)
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", argument):
            message = f"`{argument}` is not a valid argument name"
            problems.append(
                Problem(text.path, line, message, "Use lower-case letters, digits and underscores.")
            )
        if spec.hidden and spec.default is None and not spec.optional:
            message = f"`{argument}` is hidden but has no default"
            problems.append(Problem(text.path, line, message))
    if head.result is not None:
        first = _at(text, "result") or 1
        problems += check_template(head.result, text.path, RESULT, first=first, static=False)
    if problems:
        return problems
    from laguna_agent.prompts.loader.text_tool import text_tool

    shell = builtin.get("shell")
    return _examples(text, text_tool(name, text, "", shell, None)) if shell else []


def _examples(text: ToolText, tool: Tool) -> list[Problem]:
    problems = []
    for example in text.head.examples:
        try:
            tool.arguments.model_validate(example)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = f"the example {example} is invalid: `{where}`: {first['msg']}"
            problems.append(Problem(text.path, _at(text, "examples"), message))
    return problems


def _other_form(text: str, path: Path, pack: Pack, names: Sequence[str]) -> list[Problem]:
    """A form of calls that the prompt shows and that the chat format does not read."""
    if pack.chat_format == "fenced":
        form = r"<tool_call>"
    else:  # three marks before a tool's name, or before no heading
        tools = "|".join(map(re.escape, names)) or "done"
        form = rf"(?<!#)###(?: (?:{tools})\b|(?![\w\s#])|$)"
    found = re.search(form, text, re.MULTILINE)
    if found is None:
        return []
    used = f"the chat format `{pack.chat_format}`" if pack.chat_format else "the model's own format"
    message = f"the prompt shows calls as `{found.group()}`, and {used} has others"
    fix = "Leave the form of calls out: the chat format declares it with the tools."
    return [Problem(path, None, message, fix)]


def _rendered(
    pack: Pack,
    builtin: Mapping[str, Tool],
    count: CountTokens | None,
    static: StaticVariables | None,
    *,
    exact: bool,
) -> list[Problem]:
    names = tuple(pack.tool_names(builtin))
    form = pack.chat_format or ""
    variables = static or StaticVariables(model="", format=form, tools=names)
    problems: list[Problem] = []
    try:
        system, path = pack.system(variables), pack.stack.find(SYSTEM)[0]
        if system != pack.reload().system(variables):
            problems.append(Problem(path, None, "the static prefix differs between two renderings"))
        problems += _other_form(system, path, pack, names)
        pack.tools(builtin, variables)
        for name, values in DYNAMIC.items():
            pack.text(name, **values)
    except PackError as error:
        return list(error.problems)
    except LagunaError as error:
        return [Problem(pack.stack.layers[0].directory, None, error.message)]
    if count is not None:
        tokens, limit = count(pack, variables), pack.limits.prefix_tokens
        if tokens > limit:
            path, line = pack.stack.position("limits", "prefix_tokens")
            about = "" if exact else "about "
            over = tokens - limit
            message = f"the static prefix has {about}{tokens} tokens, {over} over its budget"
            fix = (
                "`laguna prompts show` lists the cost of each part. Shorten one or raise the limit."
            )
            severity: Literal["error", "warning"] = "error" if exact else "warning"
            problems.append(Problem(path, line, message, fix, severity))
    return problems
