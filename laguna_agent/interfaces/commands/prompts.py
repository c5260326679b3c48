"""`laguna prompts`: see, change, check and compare what the model is told."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from laguna_agent.config import Config
from laguna_agent.errors import ExitCode, LagunaError, UsageError
from laguna_agent.interfaces.commands.pack_cost import Sight, open_meter
from laguna_agent.interfaces.commands.pack_inspection import Desk
from laguna_agent.prompts.loader.layers import BUILT_IN, MANIFEST, choose_pack, pack_names
from laguna_agent.prompts.loader.pack import Pack, load_pack
from laguna_agent.prompts.loader.problems import Problem, near

_SCAFFOLD = BUILT_IN / "_new"


def main(argv: list[str]) -> int:
    """Run `laguna prompts ARGV`; returns the exit code."""
    arguments = _parser().parse_args(argv)
    run: Callable[[Desk, argparse.Namespace], int] = arguments.run
    try:
        return run(Desk(model=getattr(arguments, "model", None)), arguments)
    except LagunaError as error:
        sys.stderr.write(f"laguna: {error}\n")
        return int(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        return int(ExitCode.DONE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="laguna prompts", description="Prompt packs: what the model is told, as text."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[Desk, argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    pack = {"metavar": "PACK", "nargs": "?", "help": "name or folder; default: the model's own"}
    sub = command("list", _list, "Packs that can be used, and where they come from.")
    sub.add_argument("--json", action="store_true", help="one JSON object")
    sub = command("show", _show, "Exactly what the model sees, with the tokens of each part.")
    sub.add_argument("pack", **pack)  # type: ignore[arg-type] # argparse's keywords are untyped
    sub.add_argument("--model", metavar="NAME|PATH", help="for this model, by its tokenizer")
    sub.add_argument("--raw", action="store_true", help="the static prefix to the byte, no more")
    sub.add_argument("--pieces", action="store_true", help="mark where each token ends")
    sub.add_argument("--file", metavar="FILE", help="one file of the pack as it stands")
    sub.add_argument("--json", action="store_true", help="one JSON object")
    sub = command("new", _new, "Make a pack with a comment on everything that can be set.")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("--extends", metavar="PACK", default="base", help="default: base")
    sub.add_argument("--project", action="store_true", help="in this repository's .laguna")
    sub = command("edit", _edit, "Open a file of a pack in your editor, in a copy of your own.")
    sub.add_argument("pack", metavar="PACK")
    sub.add_argument("file", metavar="FILE", nargs="?", default="system.md")
    sub.add_argument("--project", action="store_true", help="in this repository's .laguna")
    sub = command("lint", _lint, "Find what is wrong with packs, and what they cost.")
    sub.add_argument("packs", metavar="PACK", nargs="*", help="default: all that you changed")
    sub.add_argument("--model", metavar="NAME|PATH", help="for this model, by its tokenizer")
    sub.add_argument("--json", action="store_true", help="one JSON object")
    sub = command("diff", _diff, "How a pack differs from the built-in one.")
    sub.add_argument("pack", **pack)  # type: ignore[arg-type] # argparse's keywords are untyped
    sub.add_argument("file", metavar="FILE", nargs="?")
    return parser


def _list(desk: Desk, arguments: argparse.Namespace) -> int:
    chosen = desk.config.pack or choose_pack(desk.subject.name, desk.directories)
    rows: list[dict[str, Any]] = []
    for name in pack_names(desk.directories):
        pack = load_pack(
            name, model_name=desk.subject.name, directories=desk.directories, check=False
        )
        own = [layer for layer in pack.stack.layers if layer.pack == name]
        rows.append(
            {
                "name": name,
                "chosen": name == chosen,
                "origins": [desk.origin(layer) for layer in own],
                "extends": pack.stack.tree.get("extends", "base" if name != "base" else None),
                "models": pack.manifest.models,
                "description": pack.description,
            }
        )
    if arguments.json:
        _print(json.dumps({"model": desk.subject.name, "packs": rows}, indent=2))
        return int(ExitCode.DONE)
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        mark = "*" if row["chosen"] else " "
        where = " + ".join(reversed(row["origins"]))
        _print(f"{mark} {row['name']:<{width}}  {where:<16}  {row['description']}")
    _print(f"\n* is what {desk.subject.name} is told")
    return int(ExitCode.DONE)


def _show(desk: Desk, arguments: argparse.Namespace) -> int:
    pack = desk.load(arguments.pack)
    if arguments.file:
        found = pack.stack.find(_file_name(arguments.file, pack))
        sys.stdout.write(found[0].read_text(encoding="utf-8"))
        return int(ExitCode.DONE)
    with open_meter(desk.subject) as meter:
        sight = meter.look(pack, desk.builtin)
    if arguments.json:
        _print(json.dumps(_as_data(desk, sight), indent=2, ensure_ascii=False))
    elif arguments.pieces:
        if not sight.exact:
            raise UsageError("there is no tokenizer to split with", hint=desk.subject.missing)
        _print("│".join(piece.replace("\n", "⏎\n") for piece in sight.pieces))
    elif arguments.raw:
        sys.stdout.write(sight.prefix)
    else:
        _print(sight.prefix.rstrip("\n"))
        _print("")
        for line in _table(desk, sight):
            _print(line)
    return int(ExitCode.DONE)


def _as_data(desk: Desk, sight: Sight) -> dict[str, object]:
    return {
        "pack": sight.pack.name,
        "sha256": sight.pack.sha256,
        "model": desk.subject.name,
        "format": sight.format,
        "exact": sight.exact,
        "prefix": sight.prefix,
        "tokens": sight.tokens,
        "budget": sight.pack.limits.prefix_tokens,
        "parts": {part.name: part.tokens for part in sight.parts},
        "messages": {part.name: part.tokens for part in sight.messages},
        "limits": sight.pack.limits.model_dump(),
        "sampling": sight.pack.sampling,
        "files": {name: str(found[0]) for name in sight.pack.sources
                  if (found := sight.pack.stack.find(name))},
    }  # fmt: skip


def _table(desk: Desk, sight: Sight) -> Iterator[str]:
    limit = sight.pack.limits.prefix_tokens
    how = "by its own tokenizer" if sight.exact else f"estimated: {desk.subject.missing}"
    yield f"── {sight.pack.name}, for {desk.subject.name} in format {sight.format}; tokens {how} ──"
    for part in sight.parts:
        yield f"{part.tokens:>7}  {part.name}"
    yield f"{sight.tokens:>7}  static prefix, of {limit} allowed"
    yield ""
    yield "Messages that are appended, without what is put in:"
    for part in sight.messages:
        yield f"{part.tokens:>7}  {part.name}"


def _new(desk: Desk, arguments: argparse.Namespace) -> int:
    name = arguments.name
    if not name.replace("-", "").replace("_", "").isalnum() or name.startswith(("-", "_")):
        raise UsageError(f"`{name}` is no name for a pack", hint="Use letters, digits, - and _.")
    known = pack_names(desk.directories)
    if arguments.extends not in (*known, "auto"):
        raise UsageError(
            f"there is no pack `{arguments.extends}`", hint=near(arguments.extends, known)
        )
    folder = desk.target(name, project=arguments.project)
    if name in known or folder.exists():
        hint = f"To change it: laguna prompts edit {name}"
        raise UsageError(f"there is a pack called `{name}` already", hint=hint)
    for source in sorted(path for path in _SCAFFOLD.rglob("*") if path.is_file()):
        target = folder / source.relative_to(_SCAFFOLD)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        text = text.replace("EXTENDS", arguments.extends).replace("NAME", name)
        target.write_text(text, encoding="utf-8")
        _print(str(target))
    return int(ExitCode.DONE)


def _edit(desk: Desk, arguments: argparse.Namespace) -> int:
    pack = load_pack(
        arguments.pack, model_name=desk.subject.name, directories=desk.directories, check=False
    )
    name = _file_name(arguments.file, pack)
    folder = desk.target(pack.name, project=arguments.project)
    if "/" in arguments.pack:
        folder = pack.stack.layers[0].directory
    target, made = folder / name, False
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pack.stack.find(name)[0], target)
        made = True
    before = target.read_bytes()
    editor = _editor(desk.config)
    try:
        done = subprocess.run([*editor, str(target)], check=False)
    except OSError as error:
        raise UsageError(f"the editor {editor[0]} did not start: {error.strerror}") from error
    if made and (done.returncode != 0 or target.read_bytes() == before):
        target.unlink()
        _print("nothing was changed")
        return int(ExitCode.DONE)
    _print(str(target))
    with open_meter(desk.subject) as meter:
        return _report({pack.name: desk.lint(arguments.pack, meter)})


def _editor(config: Config) -> list[str]:
    chosen = config.tui.editor or os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if chosen:
        return shlex.split(chosen)
    for program in ("nano", "vi"):
        if shutil.which(program):
            return [program]
    raise UsageError(
        "no editor is known", hint="Set EDITOR, or `editor` under [tui] in config.toml."
    )


def _lint(desk: Desk, arguments: argparse.Namespace) -> int:
    names = arguments.packs or _own_packs(desk)
    found: dict[str, list[Problem]] = {}
    costs: dict[str, Sight] = {}
    with open_meter(desk.subject) as meter:
        for name in names:
            found[name] = desk.lint(name, meter)
            if not any(problem.severity == "error" for problem in found[name]):
                costs[name] = meter.look(desk.load(name), desk.builtin)
    if arguments.json:
        data = {
            name: {
                "problems": [_problem_data(problem) for problem in found[name]],
                "tokens": costs[name].tokens if name in costs else None,
            }
            for name in names
        }
        _print(json.dumps(data, indent=2, ensure_ascii=False))
        return _status(found)
    for name, sight in costs.items():
        fine = "" if found[name] else "nothing wrong; "
        sort = "" if sight.exact else " (estimated)"
        limit = sight.pack.limits.prefix_tokens
        _print(f"{name}: {fine}{sight.tokens}{sort} of {limit} tokens")
        for part in (*sight.parts, *sight.messages):
            _print(f"{part.tokens:>7}  {part.name}")
    return _report(found)


def _problem_data(problem: Problem) -> dict[str, object]:
    return {
        "file": str(problem.path),
        "line": problem.line,
        "severity": problem.severity,
        "message": problem.message,
        "mend": problem.mend,
    }


def _own_packs(desk: Desk) -> list[str]:
    changed = {
        path.name
        for directory in desk.directories
        if directory.is_dir()
        for path in directory.iterdir()
        if path.is_dir()
    }
    names = [name for name in pack_names(desk.directories) if name in changed]
    return names or [desk.config.pack or choose_pack(desk.subject.name, desk.directories)]


def _report(found: dict[str, list[Problem]]) -> int:
    for problems in found.values():
        for problem in problems:
            word = "" if problem.severity == "error" else "warning: "
            mend = f"\n  {problem.mend}" if problem.mend else ""
            _print(f"{problem.place}: {word}{problem.message}{mend}")
    return _status(found)


def _status(found: dict[str, list[Problem]]) -> int:
    errors = any(p.severity == "error" for problems in found.values() for p in problems)
    return int(ExitCode.FAILED if errors else ExitCode.DONE)


def _diff(desk: Desk, arguments: argparse.Namespace) -> int:
    pack = desk.load(arguments.pack)
    names = [MANIFEST, *pack.stack.names()]
    if arguments.file:
        names = [_file_name(arguments.file, pack)]
    for name in names:
        versions = pack.stack.find(name)
        if not versions or BUILT_IN in versions[0].parents:
            continue
        old = next((path for path in versions if BUILT_IN in path.parents), None)
        before = old.read_text(encoding="utf-8").splitlines(keepends=True) if old else []
        after = versions[0].read_text(encoding="utf-8").splitlines(keepends=True)
        label = f"built-in/{old.relative_to(BUILT_IN)}" if old else os.devnull
        for line in difflib.unified_diff(before, after, label, str(versions[0])):
            sys.stdout.write(line if line.endswith("\n") else f"{line}\n")
    return int(ExitCode.DONE)


def _file_name(name: str, pack: Pack) -> str:
    known = [MANIFEST, *pack.stack.names()]
    for candidate in (name, f"{name}.md", f"tools/{name}", f"tools/{name}.md"):
        if candidate in known:
            return candidate
    raise UsageError(f"the pack `{pack.name}` has no file {name}", hint=near(name, known))


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
