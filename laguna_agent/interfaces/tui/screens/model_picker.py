"""The pickers of a model: what is installed, the catalogue with what fits, servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from laguna_agent.byte_sizes import gib, gigabytes
from laguna_agent.interfaces.tui.screens.dialogs import Choice, Picker
from laguna_agent.interfaces.tui.widgets.fitted_row import columns, shorten_middle
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.config import Config

SERVER, FILE = "server:", "file:"
"""Answers of a picker that are no model's name: ask for a server's address, for a file's path."""
_NAME_CELLS = 24
"""Cells of a model's name where there is no room for all of it."""


def model_picker(config: Config) -> Picker:
    """The picker of /model. Reads the store and measures this machine."""
    from laguna_agent.interfaces.commands.fit_report import candidates, fit_report
    from laguna_agent.models.store import Store

    store = Store()
    installed = {model.name for model in store.installed() if model.present}
    rows = fit_report(candidates(None, store), config.engine).rows
    models = [
        ModelRow(row.name, row.name in installed, row.fits, row.total, row.largest_context)
        for row in sorted(rows, key=lambda row: row.name not in installed)
    ]
    servers = {name: provider.url for name, provider in config.providers.items()}
    return picker_of([*model_choices(models, servers), *_other_choices()])


class ModelRow(NamedTuple):
    """A model of the list, which needs `total` bytes for up to `context` tokens."""

    name: str
    installed: bool
    fits: bool
    total: int
    context: int | None


def model_choices(models: Sequence[ModelRow], servers: Mapping[str, str]) -> list[Choice]:
    """Rows for the models and for `servers` (names to addresses).

    In a narrow terminal all rows show less: the context goes first, then the size. Whether a model
    can be used matters more than the whole of its name.
    """

    names = [*(row.name for row in models), *(f"{name}/…" for name in servers)]
    where = ["installed" if row.installed else "download" for row in models] + ["server"] * len(
        servers
    )
    verdicts = ["fits" if row.fits else "too large" for row in models] + [""] * len(servers)
    short = [
        verdict if verdict == "too large" else source
        for source, verdict in zip(where, verdicts, strict=True)
    ]
    sizes = [gib(row.total) for row in models] + [""] * len(servers)
    contexts = [f"{row.context // 1024}k" if row.context else "" for row in models]
    contexts += [""] * len(servers)
    long = [f"for {text} tokens" if text else "" for text in contexts]
    forms = [
        columns([*zip(names, where, verdicts, sizes, long, strict=True)], right=(3,)),
        columns([*zip(names, short, sizes, [t[4:] for t in long], strict=True)], right=(2,)),
        columns([*zip(names, short, sizes, contexts, strict=True)], right=(2,)),
        columns([*zip(names, short, sizes, strict=True)], right=(2,)),
        columns([*zip(names, short, strict=True)]),
        columns([*zip((shorten_middle(name, _NAME_CELLS) for name in names), short, strict=True)]),
    ]
    rows = [list(row) for row in zip(*forms, strict=True)]
    sources = columns([*zip(names, where, strict=True)])
    for number, url in enumerate(servers.values(), len(models)):
        row, address = rows[number], f"  {visible(url, single_line=True)}"
        whole = sources[number].append(address)
        whole.pad_right(row[0].cell_len - whole.cell_len)
        row[:-1] = [whole, row[-2].copy().append(address), row[-2]]
    ids = [*(row.name for row in models), *(f"{name}/" for name in servers)]
    return [Choice(id_, row[0], narrower=row[1:]) for id_, row in zip(ids, rows, strict=True)]


def picker_of(choices: Sequence[Choice]) -> Picker:
    """A picker of models."""
    hint = "enter uses the model, and downloads it if needed · esc closes · type to search"
    return Picker("Models", choices, hint=hint)


def _other_choices() -> list[Choice]:
    server = "a server with an OpenAI-compatible API"
    return [
        Choice(
            SERVER,
            Text(f"{server} (llama-server, vLLM, …)"),
            narrower=[Text(server), Text("a server")],
        ),
        Choice(FILE, Text("a GGUF file on this machine"), narrower=[Text("a GGUF file")]),
    ]


def available_memory() -> int:
    """Bytes of memory that a model could use on this machine."""
    from laguna_agent.models.sizing.hardware import gpus, machine_memory

    return machine_memory().total + sum(card.free for card in gpus())


def first_run_picker(memory: int) -> tuple[Picker, str]:
    """The picker for a machine without a model, and advice for its `memory` in bytes."""
    from laguna_agent.models.catalogue import DEFAULT, STARTER, load_catalogue
    from laguna_agent.models.sizing import fit

    catalogue = load_catalogue()
    best, starter = catalogue.get(DEFAULT), catalogue.get(STARTER)
    fits = fit.estimate(best, 32_768).total <= memory
    models, abouts = (best, starter), ("the model laguna is made for", "small, for a first try")
    titles = [model.entry.title for model in models]
    names = [title.partition(", by ")[0] for title in titles]
    sizes = [gigabytes(model.file.size) for model in models]
    large = ["" if fits else "too large", ""]
    why = [f"{word} for this machine" if word else "" for word in large]
    remarks = [reason or about for reason, about in zip(why, abouts, strict=True)]
    forms = [
        columns([*zip(titles, sizes, abouts, why, strict=True)], right=(1,)),
        columns([*zip(names, sizes, remarks, strict=True)], right=(1,)),
        columns([*zip(names, sizes, large, strict=True)], right=(1,)),
        columns([*zip(names, large, strict=True)]),
    ]
    choices = []
    for model, (label, *narrower) in zip(models, zip(*forms, strict=True), strict=True):
        for text in (label, *narrower):
            text.stylize("bold")
        choices.append(Choice(model.name, label, narrower=narrower))
    if not fits:
        choices.reverse()
    name = names[0] if fits else names[1]
    advice = f"with {gib(memory)} of memory, {name} suits this machine"
    title = "Welcome to laguna. Which model should it use?"
    hint = f"{advice}\nenter chooses · esc: choose later with /model"
    return Picker(title, [*choices, *_other_choices()], hint=hint), advice
