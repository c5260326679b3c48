"""`laguna config`: the configuration with the source of each value, its file, and editing it."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from laguna_agent.config import ENVIRONMENT, load_config, read_toml
from laguna_agent.errors import ExitCode, UsageError, did_you_mean
from laguna_agent.interfaces.commands.command_line import (
    Parser,
    edit_file,
    repository,
    write_json,
    write_line,
)
from laguna_agent.paths import config_dir
from laguna_agent.policy import trust
from laguna_agent.policy.sanitize import visible
from laguna_agent.toml_errors import key_line

_START = """\
# The configuration of laguna: `laguna config show` lists the keys, with their values.
#
# model = "laguna-xs-2.1"
# mode = "ask"              # ask, accept-edits, auto or allow-all
#
# [providers.box]           # a server with the OpenAI API, as --model box/NAME
# url = "http://192.168.1.20:8080/v1"
"""


class Value(NamedTuple):
    """A value of the configuration, and where it comes from."""

    key: str
    value: Any
    source: str


def make_parser() -> Parser:
    """The command line of `laguna config`."""
    parser = Parser(
        prog="laguna config",
        description="The configuration: flags, then LAGUNA_ variables, then .laguna/config.toml of "
        "a trusted repository, then your config.toml, then defaults.",
        examples=(
            "laguna config show             # every value, and where it comes from",
            "laguna config show sampling",
            "laguna config edit",
        ),
    )
    actions = parser.add_actions()
    action = actions.add("show", _show, "Show values, and where each comes from.")
    action.add_argument("key", metavar="KEY", nargs="?", help="a key or section (default: all)")
    action.add_directory()
    action.add_json()
    actions.add("path", _path, "Print where your config.toml is.")
    actions.add("edit", _edit, "Edit your config.toml, and check it.")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run `laguna config ARGV`; returns the exit code."""
    options = make_parser().parse_args(argv)
    return int(options.run(options))


def _user_file() -> Path:
    return config_dir() / "config.toml"


def _path(options: argparse.Namespace) -> int:
    write_line(str(_user_file()))
    return ExitCode.DONE


def _show(options: argparse.Namespace) -> int:
    found = list(values(repository(options)))
    wanted: str | None = options.key
    if wanted is not None:
        known = {key for value in found for key in (value.key, value.key.partition(".")[0])}
        found = [v for v in found if v.key == wanted or v.key.startswith(f"{wanted}.")]
        if not found:
            hint = did_you_mean(wanted, known, list_all=False) or "`laguna config show` lists them."
            raise UsageError(f"there is no key `{wanted}`", hint=hint)
    if options.json:
        write_json({v.key: {"value": v.value, "source": v.source} for v in found})
        return ExitCode.DONE
    shown = [(v.key, _text(v.value), v.source) for v in found]
    widths = [min(max(len(row[column]) for row in shown), 40) for column in (0, 1)]
    for key, text, source in shown:
        write_line(visible(f"{key:{widths[0]}}  {text:{widths[1]}}  {source}", single_line=True))
    return ExitCode.DONE


def values(root: Path) -> Iterator[Value]:
    """Every value that holds in a repository, and where it comes from. Raises UsageError."""
    project = root / trust.SETTINGS / "config.toml" if trust.is_trusted(root) else None
    config = load_config(project=project)
    files = [path for path in (project, _user_file()) if path is not None and path.is_file()]
    sources = [(path, *read_toml(path)) for path in files]
    variables = {key: name for name, key in ENVIRONMENT.items() if os.environ.get(name)}
    if os.environ.get("LAGUNA_OFFLINE", "") not in ("", "0"):
        variables["offline"] = "LAGUNA_OFFLINE"
    for keys, value in _leaves(config):
        name = ".".join(keys)
        places = [
            f"{path}:{key_line(text, keys) or 1}"
            for path, text, data in sources
            if _has(data, keys)
        ]
        if name in variables:
            places = [variables[name]]
        elif not isinstance(value, list):  # of lists, both files count
            places = places[:1]
        yield Value(name, value, ", ".join(places) or "default")


def _leaves(node: BaseModel, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for attribute, field in type(node).model_fields.items():
        key, value = field.alias or attribute, dict(node)[attribute]
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*above, key))
        elif isinstance(value, dict) and value:
            for name, item in value.items():
                yield from _leaves(item, (*above, key, name))
        elif isinstance(value, list):
            yield (*above, key), [_plain(item) for item in value]
        else:
            yield (*above, key), _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    return re.sub(r"//[^/@]*@", "//…@", value) if isinstance(value, str) else value


def _has(data: Mapping[str, Any], keys: Sequence[str]) -> bool:
    node: Any = data
    for key in keys:
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return True


def _text(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _edit(options: argparse.Namespace) -> int:
    path = _user_file()
    editor = None
    if path.exists():
        with suppress(UsageError):  # it is edited to become right
            editor = load_config().tui.editor
    if not edit_file(path, editor=editor, start=_START.encode(), private=True):
        write_line("nothing was changed")
        return ExitCode.DONE
    load_config()
    write_line(str(path))
    return ExitCode.DONE
