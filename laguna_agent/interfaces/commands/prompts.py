"""`laguna prompts`: show, change, check and compare prompt packs."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from laguna_agent.errors import ExitCode, UsageError, did_you_mean
from laguna_agent.front_matter import split_front_matter
from laguna_agent.interfaces.commands.command_line import Parser, edit_file, write_json, write_line
from laguna_agent.interfaces.commands.pack_cost import RenderedPack, open_meter
from laguna_agent.interfaces.commands.pack_library import PackLibrary
from laguna_agent.prompts.loader.layers import BUILT_IN, MANIFEST, merge_tables, pack_names
from laguna_agent.prompts.loader.manifest import OWN, read_manifest
from laguna_agent.prompts.loader.pack import Pack, load_pack
from laguna_agent.prompts.loader.problems import Problem

_SCAFFOLD = BUILT_IN / "_new"
_PACK = "name or folder (default: the pack of the model)"
_MODEL = "for this model, with its tokenizer"
_PROJECT = "in this repository's .laguna/"


def main(argv: Sequence[str]) -> int:
    """Run `laguna prompts ARGV`; returns the exit code."""
    options = make_parser().parse_args(argv)
    return int(options.run(options, PackLibrary(model=options.model)))


def make_parser() -> Parser:
    """The command line of `laguna prompts`."""
    parser = Parser(
        prog="laguna prompts",
        description="Prompt packs: what the model reads, as text.",
        examples=(
            "laguna prompts show              # what the model reads, with its cost",
            "laguna prompts new team --project",
            "laguna prompts edit base system.md",
            "laguna prompts lint",
        ),
    )
    parser.set_defaults(model=None)
    actions = parser.add_actions()
    action = actions.add("list", _list, "List packs and where they come from.")
    action.add_json()
    action = actions.add("show", _show, "Print exactly what the model reads, with its token cost.")
    action.add_argument("pack", metavar="PACK", nargs="?", help=_PACK)
    action.add_argument("--model", metavar="NAME|PATH", help=_MODEL)
    action.add_argument("--raw", action="store_true", help="only the static prefix, byte for byte")
    action.add_argument("--pieces", action="store_true", help="mark where each token ends")
    action.add_argument("--file", metavar="FILE", help="only this file of the pack, as written")
    action.add_json()
    action = actions.add("new", _new, "Make a pack in which every setting is explained.")
    action.add_argument("name", metavar="NAME")
    action.add_argument("--extends", metavar="PACK", default="base", help="default: base")
    action.add_argument("--project", action="store_true", help=_PROJECT)
    action = actions.add("edit", _edit, "Edit your own copy of a pack's file.")
    action.add_argument("pack", metavar="PACK")
    action.add_argument("file", metavar="FILE", nargs="?", default="system.md",
                        help="default: system.md")  # fmt: skip
    action.add_argument("--project", action="store_true", help=_PROJECT)
    action = actions.add("lint", _lint, "Check packs, and print what they cost in tokens.")
    action.add_argument("packs", metavar="PACK", nargs="*", help="default: all that you changed")
    action.add_argument("--model", metavar="NAME|PATH", help=_MODEL)
    action.add_json()
    action = actions.add("diff", _diff, "Compare a pack with the built-in one.")
    action.add_argument("pack", metavar="PACK", nargs="?", help=_PACK)
    action.add_argument("file", metavar="FILE", nargs="?", help="default: all files")
    return parser


def _list(options: argparse.Namespace, library: PackLibrary) -> int:
    chosen = library.config.pack or library.chosen
    rows: list[dict[str, Any]] = []
    for name in pack_names(library.directories):
        pack = load_pack(
            name, model_name=library.target.name, directories=library.directories, check=False
        )
        own = [layer for layer in pack.stack.layers if layer.pack == name]
        rows.append(
            {
                "name": name,
                "chosen": name == chosen,
                "origins": [library.origin(layer) for layer in own],
                "extends": pack.stack.tree.get("extends", "base" if name != "base" else None),
                "models": pack.manifest.models,
                "description": pack.description,
            }
        )
    if options.json:
        write_json({"model": library.target.name, "packs": rows})
        return ExitCode.DONE
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        mark = "*" if row["chosen"] else " "
        where = " + ".join(reversed(row["origins"]))
        write_line(f"{mark} {row['name']:<{width}}  {where:<16}  {row['description']}")
    write_line(f"\n* is the pack of {library.target.name}")
    return ExitCode.DONE


def _show(options: argparse.Namespace, library: PackLibrary) -> int:
    pack = library.load(options.pack)
    if options.file:
        found = pack.stack.find(_file_name(options.file, pack))
        sys.stdout.write(found[0].read_text(encoding="utf-8"))
        return ExitCode.DONE
    with open_meter(library.target) as meter:
        rendered = meter.measure(pack, library.builtin)
    if options.json:
        write_json(_as_data(library, rendered))
    elif options.pieces:
        if not rendered.exact:
            raise UsageError("--pieces needs the model's tokenizer", hint=library.target.missing)
        write_line("│".join(piece.replace("\n", "⏎\n") for piece in rendered.pieces))
    elif options.raw:
        sys.stdout.write(rendered.prefix)
    else:
        write_line(rendered.prefix.rstrip("\n"))
        write_line()
        for line in _table(library, rendered):
            write_line(line)
    return ExitCode.DONE


def _as_data(library: PackLibrary, rendered: RenderedPack) -> dict[str, object]:
    return {
        "pack": rendered.pack.name,
        "sha256": rendered.pack.sha256,
        "model": library.target.name,
        "format": rendered.format,
        "exact": rendered.exact,
        "prefix": rendered.prefix,
        "tokens": rendered.tokens,
        "budget": rendered.pack.limits.prefix_tokens,
        "parts": {part.name: part.tokens for part in rendered.parts},
        "messages": {part.name: part.tokens for part in rendered.messages},
        "limits": rendered.pack.limits.model_dump(),
        "sampling": rendered.pack.sampling,
        "files": {name: str(found[0]) for name in rendered.pack.sources
                  if (found := rendered.pack.stack.find(name))},
    }  # fmt: skip


def _table(library: PackLibrary, rendered: RenderedPack) -> Iterator[str]:
    limit = rendered.pack.limits.prefix_tokens
    how = "by its own tokenizer" if rendered.exact else f"estimated: {library.target.missing}"
    model = f"{library.target.name} in format {rendered.format}"
    yield f"── {rendered.pack.name}, for {model}; tokens {how} ──"
    for part in rendered.parts:
        yield f"{part.tokens:>7}  {part.name}"
    yield f"{rendered.tokens:>7}  static prefix (limit {limit})"
    yield ""
    yield "Messages that are appended, without the values filled in:"
    for part in rendered.messages:
        yield f"{part.tokens:>7}  {part.name}"


def _new(options: argparse.Namespace, library: PackLibrary) -> int:
    name = options.name
    if not name.replace("-", "").replace("_", "").isalnum() or name.startswith(("-", "_")):
        raise UsageError(f"`{name}` is not a valid pack name", hint="Use letters, digits, - and _.")
    known = pack_names(library.directories)
    if options.extends not in (*known, "auto"):
        raise UsageError(
            f"there is no pack `{options.extends}`", hint=did_you_mean(options.extends, known)
        )
    folder = library.own_folder(name, project=options.project)
    if name in known or folder.exists():
        hint = f"To change it: laguna prompts edit {name}"
        raise UsageError(f"the pack `{name}` already exists", hint=hint)
    for source in sorted(path for path in _SCAFFOLD.rglob("*") if path.is_file()):
        target = folder / source.relative_to(_SCAFFOLD)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        text = text.replace("EXTENDS", options.extends).replace("NAME", name)
        target.write_text(text, encoding="utf-8")
        write_line(str(target))
    return ExitCode.DONE


def _edit(options: argparse.Namespace, library: PackLibrary) -> int:
    pack = load_pack(
        options.pack, model_name=library.target.name, directories=library.directories, check=False
    )
    name = _file_name(options.file, pack)
    folder = library.own_folder(pack.name, project=options.project)
    if "/" in options.pack:
        folder = pack.stack.layers[0].directory
    target = folder / name
    start = pack.stack.find(name)[0].read_bytes()
    if not edit_file(target, editor=library.config.tui.editor, start=start):
        write_line("nothing was changed")
        return ExitCode.DONE
    write_line(str(target))
    with open_meter(library.target) as meter:
        return _report({pack.name: library.lint(options.pack, meter)})


def _lint(options: argparse.Namespace, library: PackLibrary) -> int:
    names = options.packs or _own_packs(library)
    found: dict[str, list[Problem]] = {}
    costs: dict[str, RenderedPack] = {}
    with open_meter(library.target) as meter:
        for name in names:
            found[name] = library.lint(name, meter)
            if not any(problem.severity == "error" for problem in found[name]):
                costs[name] = meter.measure(library.load(name), library.builtin)
    if options.json:
        data = {
            name: {
                "problems": [_problem_data(problem) for problem in found[name]],
                "tokens": costs[name].tokens if name in costs else None,
            }
            for name in names
        }
        write_json(data)
        return _status(found)
    for name, rendered in costs.items():
        verdict = "" if found[name] else "no problems; "
        estimated = "" if rendered.exact else " (estimated)"
        limit = rendered.pack.limits.prefix_tokens
        write_line(f"{name}: {verdict}{rendered.tokens}{estimated} of {limit} tokens")
        for part in (*rendered.parts, *rendered.messages):
            write_line(f"{part.tokens:>7}  {part.name}")
    return _report(found)


def _problem_data(problem: Problem) -> dict[str, object]:
    return {
        "file": str(problem.path),
        "line": problem.line,
        "severity": problem.severity,
        "message": problem.message,
        "fix": problem.fix,
    }


def _own_packs(library: PackLibrary) -> list[str]:
    changed = {
        path.name
        for directory in library.directories
        if directory.is_dir()
        for path in directory.iterdir()
        if path.is_dir()
    }
    names = [name for name in pack_names(library.directories) if name in changed]
    return names or [library.config.pack or library.chosen]


def _report(found: dict[str, list[Problem]]) -> int:
    for problems in found.values():
        for problem in problems:
            severity = "" if problem.severity == "error" else "warning: "
            fix = f"\n  {problem.fix}" if problem.fix else ""
            write_line(f"{problem.location}: {severity}{problem.message}{fix}")
    return _status(found)


def _status(found: dict[str, list[Problem]]) -> int:
    errors = any(p.severity == "error" for problems in found.values() for p in problems)
    return ExitCode.FAILED if errors else ExitCode.DONE


def _diff(options: argparse.Namespace, library: PackLibrary) -> int:
    pack = library.load(options.pack)
    names = [MANIFEST, *pack.stack.names()]
    if options.file:
        names = [_file_name(options.file, pack)]
    for name in names:
        versions = pack.stack.find(name)
        if not versions or BUILT_IN in versions[0].parents:
            continue
        old = next((path for path in versions if BUILT_IN in path.parents), None)
        if name == MANIFEST:
            before, after = _settings(pack, built_in=True), _settings(pack, built_in=False)
        else:
            before, after = (_whole(versions, start) for start in (old, versions[0]))
        label = f"built-in/{old.relative_to(BUILT_IN)}" if old else os.devnull
        for line in difflib.unified_diff(before, after, label, str(versions[0]), lineterm=""):
            write_line(line)
    return ExitCode.DONE


def _settings(pack: Pack, *, built_in: bool) -> list[str]:
    """The settings of a pack with all that it inherits, of built-in folders only or of all."""
    total: dict[str, Any] = {}
    for layer in reversed(pack.stack.layers):
        path = layer.directory / MANIFEST
        if path.is_file() and (layer.built_in or not built_in):
            tree = read_manifest(path)
            own = layer.pack == pack.name
            merge_tables(total, {k: v for k, v in tree.items() if own or k not in OWN})
    return sorted(_flat(total))


def _flat(tree: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key} = {json.dumps(value, ensure_ascii=False)}"


def _whole(versions: list[Path], start: Path | None) -> list[str]:
    """The lines of one version of a file, with those that it inserts with `super()`."""
    if start is None:
        return []
    lines: list[str] = []
    place = versions.index(start)
    for line in start.read_text(encoding="utf-8-sig").splitlines():
        inserts = re.fullmatch(r"\s*\{\{-?\s*super\(\)\s*-?\}\}\s*", line)
        if inserts and place + 1 < len(versions):
            above = _whole(versions, versions[place + 1])
            lines += split_front_matter("\n".join(above)).body.split("\n")
        else:
            lines.append(line)
    return lines


def _file_name(name: str, pack: Pack) -> str:
    known = [MANIFEST, *pack.stack.names()]
    for candidate in (name, f"{name}.md", f"tools/{name}", f"tools/{name}.md"):
        if candidate in known:
            return candidate
    raise UsageError(f"the pack `{pack.name}` has no file {name}", hint=did_you_mean(name, known))
