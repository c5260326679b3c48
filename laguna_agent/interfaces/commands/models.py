"""`laguna models`: list, find, fetch, import, remove and choose models, and see what fits."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laguna_agent.byte_sizes import gib, gigabytes
from laguna_agent.config import Config, load_config
from laguna_agent.errors import ExitCode, LagunaError, ModelError, UsageError
from laguna_agent.interfaces.commands import compare, experts, model_fit, model_search
from laguna_agent.interfaces.commands.command_line import (
    Parser,
    write_json,
    write_line,
    write_table,
)
from laguna_agent.interfaces.transfer_progress import TransferLine
from laguna_agent.models.catalogue import Catalogued, load_catalogue
from laguna_agent.models.fetch.acquire import import_file, pull
from laguna_agent.models.gguf import GgufHeader, read_header
from laguna_agent.models.servers.providers import provider_of
from laguna_agent.models.sizing import fit
from laguna_agent.models.sizing.quant_choice import machine_room, recommended
from laguna_agent.models.store import Installed, Store, is_path, resolve
from laguna_agent.policy.sanitize import visible


def main(argv: Sequence[str]) -> int:
    """Run `laguna models ARGV`; returns the exit code."""
    options = make_parser().parse_args(argv)
    config = load_config(flags={"offline": options.offline or None})
    return int(options.run(options, config, Store()))


def make_parser() -> Parser:
    """The command line of `laguna models`."""
    parser = Parser(
        prog="laguna models",
        description="Models on this machine.",
        examples=(
            "laguna models pull            # the one that suits this machine",
            "laguna models pull starter    # 1.1 GB, for a first try",
            "laguna models search coder apache",
            "laguna models import ~/Downloads/model.gguf --name mine",
            "laguna models default mine",
            "laguna models experts laguna-xs src/app.py README.md",
            "laguna models compare q4.gguf q6.gguf",
            "laguna models compare starter --kv f16,q8_0",
        ),
    )
    parser.set_defaults(offline=False)
    actions = parser.add_actions()
    action = actions.add(
        "list", _list, "List what is installed, what providers serve, and what can be fetched."
    )
    action.add_argument("--installed", action="store_true", help="only what is installed")
    action.add_json()
    model_search.declare(actions)
    action = actions.add("show", _show, "Print what is known of a model.")
    action.add_argument("model", metavar="NAME|PATH")
    action.add_json()
    action = actions.add("pull", _pull, "Fetch a model. Continues an interrupted download.")
    action.add_argument("model", metavar="NAME|URL", nargs="?",
                        help="default: the model that suits this machine; of NAME, the "
                        "quantisation that does, unless it is NAME:QUANTISATION")  # fmt: skip
    action.add_argument("--from", dest="origin", metavar="PATH|URL",
                        help="fetch from this mirror or directory")  # fmt: skip
    action.add_argument("--offline", action="store_true", help="use no network")
    action.add_argument("--trust-new", action="store_true",
                        help="accept a file with another digest than recorded")  # fmt: skip
    action.add_argument("--quiet", action="store_true", help="show no progress")
    action = actions.add(
        "import",
        _import,
        "Use a GGUF file, or a model of Ollama, LM Studio and others, through a link.",
    )
    action.add_argument("path", metavar="PATH|NAME")
    action.add_argument("--name", metavar="NAME", help="what to call it")
    action = actions.add("remove", _remove, "Remove models. Of imported ones, only the link.")
    action.add_argument("models", metavar="NAME", nargs="+")
    action = actions.add("default", _default, "Show or choose the model used when none is named.")
    action.add_argument("model", metavar="NAME", nargs="?")
    action.add_argument("--reset", action="store_true", help="let laguna choose again")
    model_fit.declare(actions)
    experts.declare(actions)
    compare.declare(actions)
    return parser


# --- list and show --------------------------------------------------------------------------


def _list(options: argparse.Namespace, config: Config, store: Store) -> int:
    installed = {one.name: one for one in store.installed()}
    rows = [_row(one.name, one, one.known, store) for one in installed.values()]
    if not options.installed:
        known = [one for one in load_catalogue().all_files() if one.name not in installed]
        rows += [_row(one.name, None, one, store) for one in known]
    chosen = _chosen(config, store)
    served, problems = ([], {}) if options.installed else _served(config)
    listed = [row["name"] for row in served]
    if chosen and chosen not in listed and (remote := provider_of(chosen, config.providers)):
        served.insert(0, _server_row(chosen, f"provider {remote[0]}"))
    here = [row for row in rows if row["path"]]
    rows = [*here, *served, *(row for row in rows if not row["path"])]
    rows.sort(key=lambda row: row["name"] != chosen)
    if options.json:
        shown = {name: str(error) for name, error in problems.items()}
        rows = [{key: row[key] for key in row if key != "also"} for row in rows]
        write_json({"models": rows, "default": chosen, "problems": shown})
        return ExitCode.DONE
    if not rows:
        write_line("No model is installed. `laguna models list` shows what can be fetched.")
        return ExitCode.DONE
    table = [("", "NAME", "SIZE", "STATE", "WHAT")]
    for row in rows:
        names = ", ".join(row["aliases"])
        mark = "*" if row["name"] == chosen else ""
        what = row["about"] + (f" (also: {names})" if names else "")
        size = gigabytes(row["size"]) if row["size"] else ""
        if row["state"] == "not installed" and ":" in row["name"]:
            continue
        table.append((mark, row["name"], size, row["state"], what + row["also"]))
    write_table(table)
    if chosen:
        write_line("\n* is used when no model is named.")
    if not options.installed:
        write_line(
            "\nuntried: laguna has not run these weights. `laguna models show NAME` says more."
        )
        write_line("laguna models pull NAME  fetches the quantisation that suits this machine.")
    for name, error in problems.items():
        sys.stderr.write(f"laguna: provider {name}: {visible(str(error))}\n")
    return ExitCode.DONE


def _served(config: Config) -> tuple[list[dict[str, Any]], dict[str, LagunaError]]:
    """Rows for the models that the configured providers serve, and why others are not known."""
    if not config.providers:
        return [], {}
    from laguna_agent.models.servers.discovery import list_configured
    from laguna_agent.models.servers.model_list import FoundServer

    rows, problems = [], {}
    for name, answer in asyncio.run(list_configured(config)).items():
        if isinstance(answer, FoundServer):
            about = visible(answer.place, single_line=True)
            rows += [_server_row(f"{name}/{model}", about) for model in answer.models]
        else:
            problems[name] = answer
    return rows, problems


def _row(
    name: str, installed: Installed | None, known: Catalogued | None, store: Store
) -> dict[str, Any]:
    recommended = known is not None and known.name == known.entry.name
    about = known.entry.about if known and recommended else ""
    if known and not recommended:
        about = f"{known.file.quantization} of {known.entry.name}"
    if known and known.file.note:
        about += ", community file"
    size = installed.size if installed else known.file.size if known else 0
    if installed is None:
        part = store.directory / f"{known.file.file if known else name}.part"
        state = "partly fetched" if part.exists() else "not installed"
    elif not installed.present:
        state = "missing"
    else:
        state = "imported" if installed.linked else "installed"
    sha256 = installed.sha256 if installed else known.file.sha256 if known else None
    return {
        "name": name,
        "aliases": list(known.entry.aliases) if known and recommended else [],
        "size": size,
        "state": state,
        "about": about or (f"from {installed.linked}" if installed and installed.linked else ""),
        "also": _also(known) if known and recommended and installed is None else "",
        "sha256": sha256,
        "path": str(installed.path) if installed else None,
    }


def _also(known: Catalogued) -> str:
    """What a row says of a model's quantisations, the smallest first, and whether it was tried."""
    files = sorted(known.entry.files, key=lambda file: file.size)
    kinds = [file.quantization.lower() for file in files]
    others = f"; {', '.join(kinds)}" if len(kinds) > 1 else ""
    return others + ("" if known.entry.tried else "; untried")


def _server_row(name: str, about: str) -> dict[str, Any]:
    return {"name": name, "aliases": [], "size": 0, "state": "on a server", "about": about,
            "also": "", "sha256": None, "path": None}  # fmt: skip


def _chosen(config: Config, store: Store) -> str | None:
    wanted = config.model or store.default
    if wanted is not None:
        found = store.find(wanted)
        return found.name if found else wanted
    return store.preferred()


def _show(options: argparse.Namespace, config: Config, store: Store) -> int:
    name: str = options.model
    facts: dict[str, Any] = {}
    if found := provider_of(name, config.providers):
        server = config.providers[found[0]]
        facts = {"name": name, "provider": found[0], "model": found[1],
                 "context": server.context, "key": server.key_env}  # fmt: skip
        if options.json:
            write_json(facts)
        else:
            write_table(_rows(facts))
        return ExitCode.DONE
    installed = None if is_path(name) else store.find(name)
    known = None if is_path(name) else load_catalogue().find(name)
    if installed is None and known is None and not is_path(name):
        load_catalogue().get(name)  # raises, with the nearest names
    if known:
        entry, file = known.entry, known.file
        facts |= {
            "name": known.name,
            "aliases": ", ".join(entry.aliases),
            "title": entry.title,
            "licence": entry.licence,
            "parameters": f"{entry.parameters / 1e9:.1f} billion",
            "active": f"{entry.active / 1e9:.1f} billion a token",
            "context": entry.context,
            "format": entry.format,
            "tried": entry.tried,
            "quality": [figure.model_dump() for figure in entry.quality],
            "quantizations": model_search.quants_text(entry),
            "quantization": file.quantization,
            "file": file.file,
            "size": gigabytes(file.size),
            "sha256": file.sha256
            or list(file.part_sha256)
            or store.recorded(known.name)
            or "unknown: recorded at first download",
            "sampling": entry.sampling.model_dump(),
            "sources": [source.model_dump(exclude_none=True) for source in file.sources],
        }
    path = Path(name).expanduser() if is_path(name) else installed.path if installed else None
    if installed and installed.present:
        facts |= {"path": str(installed.path), "origin": installed.linked or installed.source}
    if path is not None and (installed is None or installed.present):
        facts |= _header_facts(read_header(path))
        facts["sha256"] = store.digest(path)
    facts["installed"] = bool(installed and installed.present)
    if options.json:
        write_json(facts)
        return ExitCode.DONE
    if known:
        facts["tried"] = "yes" if known.entry.tried else "no: laguna is untried with these weights"
        figures = [f"{figure}: {figure.source}" for figure in known.entry.quality]
        facts["quality"] = figures or "unknown"
    write_table(_rows(facts))
    return ExitCode.DONE


def _header_facts(header: GgufHeader) -> dict[str, Any]:
    window = sum(fit.window_layers(header))
    layers = f"{header.layers}" + (f", {window} of them with a sliding window" if window else "")
    return {
        "architecture": header.architecture,
        "quantization": header.quantization,
        "parameters": f"{header.parameters / 1e9:.2f} billion",
        "context": header.context_length,
        "layers": layers,
        "vocabulary": header.vocabulary,
        "size": gigabytes(header.size),
        "chat template": "in the file" if header.template else "none in the file",
    }


# --- pull, import, remove and default -------------------------------------------------------


def _pull(options: argparse.Namespace, config: Config, store: Store) -> int:
    with TransferLine(quiet=options.quiet) as line:
        name = options.model or _recommended()
        try:
            done = pull(
                name,
                store,
                origin=options.origin,
                offline=config.offline,
                trust_new=options.trust_new,
                on_progress=line.progress,
                on_notice=line.notice,
            )
        except KeyboardInterrupt:
            line.notice("interrupted; the part fetched so far is kept")
            raise
    write_line(f"{done.name}  {gigabytes(done.size)}  {done.path}")
    return ExitCode.DONE


def _recommended() -> str:
    room = machine_room()
    choice = recommended(room)
    if choice is None:
        raise ModelError(
            f"no model suits this machine: a model can take {gib(room)} of its memory",
            hint="Use a server's model: docs/servers.md. Or name one: laguna models pull starter",
        )
    return choice.chosen.entry.name


def _import(options: argparse.Namespace, config: Config, store: Store) -> int:
    with TransferLine() as line:
        hashing = line.hashing(Path(options.path).name)
        done = import_file(options.path, store, name=options.name, on_progress=hashing)
    write_line(f"{done.name}  {gigabytes(done.size)}  {done.path}")
    return ExitCode.DONE


def _remove(options: argparse.Namespace, config: Config, store: Store) -> int:
    for name in options.models:
        removed = store.remove(name)
        linked = removed.linked
        kept = f"; {linked} stays" if linked and Path(linked).exists() else ""
        write_line(f"removed {removed.name}{kept}")
    return ExitCode.DONE


def _default(options: argparse.Namespace, config: Config, store: Store) -> int:
    if options.reset:
        store.set_default(None)
    elif options.model and provider_of(options.model, config.providers):
        store.set_default(options.model)
    elif options.model:
        resolved = resolve(options.model, config, store=store)
        if is_path(options.model):
            raise UsageError(
                "a default model is a name, not a path",
                hint=f"First run: laguna models import {options.model}",
            )
        store.set_default(resolved.name)
    chosen = _chosen(config, store)
    write_line(chosen or "none: no model is installed")
    if config.model and options.model:
        sys.stderr.write(
            f"laguna: {config.model}, set in the configuration or LAGUNA_MODEL, is used instead\n"
        )
    return ExitCode.DONE


# --- printing -------------------------------------------------------------------------------


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """A row for each fact that is known, and one for each item of a list."""
    rows = []
    for key, value in facts.items():
        items = value if isinstance(value, list) else [value]
        names = [key, *[""] * len(items)]
        rows += [(name, _text(item)) for name, item in zip(names, items, strict=False)
                 if item not in ("", None)]  # fmt: skip
    return rows


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item != "")
    return str(value)
