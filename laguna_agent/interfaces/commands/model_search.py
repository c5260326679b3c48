"""`laguna models search`: the models of the catalogue that words describe."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from laguna_agent.byte_sizes import gigabytes
from laguna_agent.errors import ExitCode, ModelError
from laguna_agent.interfaces.commands.command_line import Actions, write_json, write_line
from laguna_agent.models.catalogue import ModelEntry, load_catalogue
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.config import Config
    from laguna_agent.models.store import Store

_WIDTH = 80


def declare(actions: Actions) -> None:
    """Add the action to `laguna models`."""
    action = actions.add(
        "search",
        _run,
        "Find models of the catalogue by name, licence, quantisation, chat format and the like.",
    )
    action.add_argument("words", metavar="WORD", nargs="+", help="each must be found")
    action.add_json()


def _run(options: argparse.Namespace, config: Config, store: Store) -> int:
    found = load_catalogue().search(options.words)
    if options.json:
        write_json({"models": [entry_facts(entry) for entry in found]})
    if not found:
        words = visible(" ".join(options.words), single_line=True)
        raise ModelError(
            f"no model of the catalogue matches {words!r}",
            hint="Try fewer words; `laguna models list` shows all. Any GGUF file can be fetched by "
            "its address: laguna models pull URL",
        )
    if not options.json:
        for entry in found:
            for line in _lines(entry):
                write_line(line)
        write_line("\nlaguna models pull NAME  fetches the quantisation that suits this machine.")
        if not all(entry.tried for entry in found):
            write_line("untried: laguna has not run these weights; figures are of others.")
    return ExitCode.DONE


def entry_facts(entry: ModelEntry) -> dict[str, Any]:
    """What the catalogue knows of a model, for scripts."""
    facts = entry.model_dump(exclude_none=True)
    facts["aliases"] = list(entry.aliases)
    for described, file in zip(facts["files"], entry.files, strict=True):
        described["size"] = file.size
    return facts


def quality_text(entry: ModelEntry) -> str:
    """The published figures of a model, in a line; `unknown` without any."""
    return "; ".join(str(figure) for figure in entry.quality) or "unknown"


def quants_text(entry: ModelEntry) -> str:
    """The quantisations of a model with their sizes, in a line, the smallest first."""
    files = sorted(entry.files, key=lambda file: file.size)
    return ", ".join(f"{file.quantization.lower()} {gigabytes(file.size)}" for file in files)


def _lines(entry: ModelEntry) -> list[str]:
    names = f" (also: {', '.join(entry.aliases)})" if entry.aliases else ""
    state = "tried" if entry.tried else "untried"
    facts = [
        entry.about,
        f"{entry.licence} · {entry.context:,} tokens of context · format {entry.format} · {state}",
        quants_text(entry),
        f"quality: {quality_text(entry)}",
    ]
    return [f"{entry.name}{names}", *(line for fact in facts for line in _wrapped(fact))]


def _wrapped(text: str) -> Sequence[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False
    )
