"""`laguna models`: what there is, what fits, and getting and removing it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from laguna_agent.config import Config, load_config
from laguna_agent.errors import ExitCode, LagunaError, UsageError
from laguna_agent.interfaces.commands.fit_report import fit_report, to_fit
from laguna_agent.interfaces.transfer_progress import TransferLine
from laguna_agent.models.catalogue import DEFAULT, STARTER, Catalogued, load_catalogue
from laguna_agent.models.fetch.acquire import import_file, pull
from laguna_agent.models.gguf import GgufHeader, gigabytes, read_header
from laguna_agent.models.sizing import fit
from laguna_agent.models.sizing.hardware import gpus, machine_memory
from laguna_agent.models.store import Installed, Store, is_path, resolve

_RECOMMENDED_CONTEXT = 32768


def main(argv: list[str]) -> int:
    """Run `laguna models ARGV`; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    run: Callable[[argparse.Namespace, Config, Store], None] = arguments.run
    try:
        flags = {"offline": True} if getattr(arguments, "offline", False) else None
        run(arguments, load_config(flags=flags), Store())
    except LagunaError as error:
        sys.stderr.write(f"laguna: {error}\n")
        return int(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\nlaguna: interrupted; what was fetched is kept\n")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        return int(ExitCode.DONE)
    return int(ExitCode.DONE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="laguna models", description="Models on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command("list", _list, "What is installed, and what can be fetched by name.")
    sub.add_argument("--installed", action="store_true", help="only what is there")
    sub.add_argument("--json", action="store_true", help="one JSON object")
    sub = command("show", _show, "Everything known of a model.")
    sub.add_argument("model", metavar="NAME|PATH")
    sub.add_argument("--json", action="store_true", help="one JSON object")
    sub = command("pull", _pull, "Fetch a model. Goes on from where an earlier fetch stopped.")
    sub.add_argument("model", metavar="NAME|URL", nargs="?", help="default: what suits here")
    sub.add_argument("--from", dest="origin", metavar="PATH|URL", help="a mirror, a disk")
    sub.add_argument("--offline", action="store_true", help="reach for no network")
    sub.add_argument("--trust-new", action="store_true", help="give up a recorded digest")
    sub.add_argument("--quiet", action="store_true", help="no progress")
    sub = command("import", _import, "Take a GGUF file of this machine, by a link to it.")
    sub.add_argument("path", metavar="PATH|OLLAMA-NAME")
    sub.add_argument("--name", help="what to call it")
    sub = command("remove", _remove, "Remove models; of imported ones only the link.")
    sub.add_argument("model", metavar="NAME", nargs="+")
    sub = command("default", _default, "Show or choose the model that is used when none is named.")
    sub.add_argument("model", metavar="NAME", nargs="?")
    sub.add_argument("--reset", action="store_true", help="let laguna choose again")
    sub = command("fit", _fit, "Whether models fit in memory, and with how much context.")
    sub.add_argument("model", metavar="NAME|PATH", nargs="?")
    sub.add_argument("--context", type=int, metavar="N", help="tokens of context")
    sub.add_argument("--json", action="store_true", help="one JSON object")
    return parser


# --- what there is --------------------------------------------------------------------------


def _list(arguments: argparse.Namespace, config: Config, store: Store) -> None:
    installed = {one.name: one for one in store.installed()}
    rows = [_row(one.name, one, one.known, store) for one in installed.values()]
    if not arguments.installed:
        known = [one for one in load_catalogue().all_files() if one.name not in installed]
        rows += [_row(one.name, None, one, store) for one in known]
    if arguments.json:
        _print_json({"models": rows, "default": _chosen(config, store)})
        return
    if not rows:
        _print("No model is installed. `laguna models list` shows what can be fetched.")
        return
    chosen = _chosen(config, store)
    table = [("", "NAME", "SIZE", "STATE", "WHAT")]
    for row in rows:
        names = ", ".join(row["aliases"])
        mark = "*" if row["name"] == chosen else ""
        what = row["about"] + (f" (also: {names})" if names else "")
        table.append((mark, row["name"], gigabytes(row["size"]), row["state"], what))
    _print_table(table)
    if chosen:
        _print("\n* is used when no model is named.")


def _row(
    name: str, there: Installed | None, known: Catalogued | None, store: Store
) -> dict[str, Any]:
    bare = known is not None and known.name == known.entry.name
    about = known.entry.about if known and bare else ""
    if known and not bare:
        about = f"{known.file.quantization} of {known.entry.name}"
    if known and known.file.note:
        about += ", community file"
    size = there.size if there else known.file.size if known else 0
    if there is None:
        part = store.directory / f"{known.file.file if known else name}.part"
        state = "fetched in part" if part.exists() else "not here"
    elif not there.present:
        state = "gone"
    else:
        state = "imported" if there.linked else "installed"
    sha256 = there.sha256 if there else known.file.sha256 if known else None
    return {
        "name": name,
        "aliases": list(known.entry.aliases) if known and bare else [],
        "size": size,
        "state": state,
        "about": about or (f"from {there.linked}" if there and there.linked else ""),
        "sha256": sha256,
        "path": str(there.path) if there else None,
    }


def _chosen(config: Config, store: Store) -> str | None:
    wanted = config.model or store.default
    if wanted is not None:
        found = store.find(wanted)
        return found.name if found else wanted
    return store.preferred()


def _show(arguments: argparse.Namespace, config: Config, store: Store) -> None:
    name: str = arguments.model
    facts: dict[str, Any] = {}
    there = None if is_path(name) else store.find(name)
    known = None if is_path(name) else load_catalogue().find(name)
    if there is None and known is None and not is_path(name):
        load_catalogue().get(name)
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
            "quantization": file.quantization,
            "file": file.file,
            "size": gigabytes(file.size),
            "sha256": file.sha256 or store.recorded(known.name) or "recorded at first download",
            "sampling": entry.sampling.model_dump(),
            "sources": [source.model_dump(exclude_none=True) for source in file.sources],
        }
    path = Path(name).expanduser() if is_path(name) else there.path if there else None
    if there and there.present:
        facts |= {"path": str(there.path), "origin": there.linked or there.source}
    if path is not None and (there is None or there.present):
        facts |= _header_facts(read_header(path))
        facts["sha256"] = store.digest(path)
    facts["installed"] = bool(there and there.present)
    if arguments.json:
        _print_json(facts)
        return
    shown = [(key, _text(value)) for key, value in facts.items() if value not in ("", None)]
    _print_table([(key, value) for key, value in shown])


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


# --- getting and removing -------------------------------------------------------------------


def _pull(arguments: argparse.Namespace, config: Config, store: Store) -> None:
    with TransferLine(quiet=arguments.quiet) as line:
        name = arguments.model or _recommended(line)
        known = load_catalogue().find(name)
        if known and not _fits(known):
            memory = fit.gib(machine_memory().total)
            line.notice(f"{known.name} will not fit here: this machine has {memory} of memory")
        done = pull(
            name,
            store,
            origin=arguments.origin,
            offline=config.offline,
            trust_new=arguments.trust_new,
            on_progress=line.progress,
            on_notice=line.notice,
        )
    _print(f"{done.name}  {gigabytes(done.size)}  {done.path}")


def _recommended(line: TransferLine) -> str:
    best = load_catalogue().get(DEFAULT)
    name = DEFAULT if _fits(best) else STARTER
    line.notice(f"{name} suits this machine ({fit.gib(machine_memory().total)} of memory)")
    return name


def _fits(known: Catalogued) -> bool:
    room = machine_memory().total + sum(card.free for card in gpus())
    return fit.estimate(known, min(_RECOMMENDED_CONTEXT, known.entry.context)).total <= room


def _import(arguments: argparse.Namespace, config: Config, store: Store) -> None:
    with TransferLine() as line:
        hashing = line.hashing(Path(arguments.path).name)
        done = import_file(arguments.path, store, name=arguments.name, on_progress=hashing)
    _print(f"{done.name}  {gigabytes(done.size)}  {done.path}")


def _remove(arguments: argparse.Namespace, config: Config, store: Store) -> None:
    for name in arguments.model:
        gone = store.remove(name)
        kept = f"; {gone.linked} stays" if gone.linked and Path(gone.linked).exists() else ""
        _print(f"removed {gone.name}{kept}")


def _default(arguments: argparse.Namespace, config: Config, store: Store) -> None:
    if arguments.reset:
        store.set_default(None)
    elif arguments.model:
        resolved = resolve(arguments.model, config, store=store)
        if is_path(arguments.model):
            raise UsageError(
                "a default is a name, not a path",
                hint=f"First: laguna models import {arguments.model}",
            )
        store.set_default(resolved.name)
    chosen = _chosen(config, store)
    _print(chosen or "none: no model is installed")
    if config.model and arguments.model:
        sys.stderr.write(f"laguna: the configuration (or LAGUNA_MODEL) still says {config.model}\n")


# --- what fits ------------------------------------------------------------------------------


def _fit(arguments: argparse.Namespace, config: Config, store: Store) -> None:
    if arguments.context is not None and arguments.context < 256:
        raise UsageError("--context must be 256 or more")
    engine = config.engine
    if arguments.context:
        engine = engine.model_copy(update={"context": arguments.context})
    report = fit_report(to_fit(arguments.model, store), engine)
    if arguments.json:
        _print_json(report.as_json())
    else:
        _print("\n".join([*report.heading(), ""]))
        _print_table(report.table())
        for line in report.remarks():
            _print(line)


# --- printing -------------------------------------------------------------------------------


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _print_json(data: dict[str, Any]) -> None:
    _print(json.dumps(data, indent=2, ensure_ascii=False))


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        _print("  ".join(cells).rstrip())


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(_text(item) for item in value)
    return str(value)
