"""The pickers of a model: what is installed, what servers have, the catalogue with what fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from laguna_agent.byte_sizes import gib, gigabytes
from laguna_agent.clip import clip
from laguna_agent.interfaces.tui.screens.dialogs import Choice, Picker
from laguna_agent.interfaces.tui.widgets.fitted_row import columns, shorten_middle
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.config import Config
    from laguna_agent.errors import LagunaError
    from laguna_agent.models.servers.model_list import FoundServer

SERVER, FILE = "server:", "file:"
"""Answers of a picker that are no model's name: ask for a server's address, for a file's path.
After `server:` may follow an address, and after a line break the model to use there."""
_NAME_CELLS = 24
"""Cells of a model's name where there is no room for all of it."""
_ABOUT_CHARS = (44, 36, 28, 20, 12)
"""Of what a server's row says besides, where there is no room for all of it."""
_SEARCH = "search, or type a server's address"
_MOST_FOUND = 40
"""Models of servers that nobody configured which the first run offers."""
_LIKE_AN_ADDRESS = re.compile(r"https?:.*|\w+:/.*|localhost.*|\[?[\da-f]*:[\da-f:]+.*"
                              r"|[\w.-]+:\d{2,5}.*|\d{1,3}(?:\.\d{1,3}){3}.*|:?\d{4,5}|[\w-]+(?:\.[\w-]+)+/.*",
                              re.IGNORECASE)  # fmt: skip


class ModelRow(NamedTuple):
    """A model file, which needs `total` bytes for up to `context` tokens."""

    name: str
    installed: bool
    fits: bool
    total: int
    context: int | None


class ServedRow(NamedTuple):
    """A model of a server, or the server whose models are not known; `id` is the answer."""

    id: str
    name: str
    state: str
    about: str


def model_rows(config: Config) -> list[ModelRow]:
    """The installed models and those of the catalogue. Reads the store, measures this machine."""
    from laguna_agent.interfaces.commands.fit_report import candidates, fit_report
    from laguna_agent.models.sizing.hardware import gpus, machine_memory
    from laguna_agent.models.store import Store

    store = Store()
    installed = {model.name for model in store.installed() if model.present}
    rows = fit_report(candidates(None, store), config.engine, machine_memory(), gpus()).rows
    models = [
        ModelRow(row.name, row.name in installed, row.fits, row.total, row.largest_context)
        for row in rows
    ]
    return sorted(models, key=lambda row: not row.installed)


def asked_rows(config: Config, in_use: str = "") -> list[ServedRow]:
    """Rows for the configured servers, which are being asked for their models; the model in use
    has its own already, where the highlight begins."""
    rows = []
    for name, provider in config.providers.items():
        known = in_use if in_use.startswith(f"{name}/") else ""
        about = f"asking {provider.url}"
        rows.append(ServedRow(known or f"{name}/", known or f"{name}/…", "server", about))
    return rows


def served_rows(
    answers: Mapping[str, FoundServer | LagunaError], in_use: str = ""
) -> list[ServedRow]:
    """Rows for what each provider of the configuration answered.

    The model in use has one, whether its server answers and lists it or not.
    """
    from laguna_agent.errors import LagunaError

    rows = []
    for name, answer in answers.items():
        if isinstance(answer, LagunaError):
            served, state, about = [], "no answer", answer.message
        else:
            served, state, about = list(answer.models), "server", answer.place
        names = [f"{name}/{model}" for model in served]
        if in_use.startswith(f"{name}/") and in_use not in names:
            names.insert(0, in_use)
        if not served and not isinstance(answer, LagunaError):
            state, about = "no model", f"{answer.place} has no model yet"
        rows += [ServedRow(each, each, state, about) for each in names]
        if not names:
            rows.append(ServedRow(f"{name}/", f"{name}/…", state, about))
    return rows


def found_rows(servers: Iterable[FoundServer]) -> list[ServedRow]:
    """Rows for servers that run on this machine and are not configured."""
    rows = []
    for server in servers:
        at = f"{SERVER}{server.endpoint.address}"
        if server.models:
            rows += [
                ServedRow(f"{at}\n{model}", model, "runs here", server.place)
                for model in server.models
            ]
        else:
            state = "wants a key" if server.wants_key else "no model"
            rows.append(ServedRow(at, "a server", state, server.place))
    return rows


def model_choices(
    models: Sequence[ModelRow], served: Sequence[ServedRow], in_use: str = ""
) -> list[Choice]:
    """Rows for model files, and behind the installed ones those of servers.

    In a narrow terminal all rows show less: the context goes first, then the size. Whether a model
    can be used matters more than the whole of its name.
    """
    used = {row.name for row in models if row.name == in_use}
    used |= {row.name for row in served if row.id == in_use}
    here = sum(row.installed for row in models)
    blank = [""] * len(served)

    def column(of_models: list[str], of_served: list[str]) -> list[str]:
        return [*of_models[:here], *of_served, *of_models[here:]]

    names = column([row.name for row in models], [row.name for row in served])
    where = column(
        ["installed" if row.installed else "download" for row in models],
        [row.state for row in served],
    )
    where = ["in use" if name in used else text for name, text in zip(names, where, strict=True)]
    verdicts = column(["fits" if row.fits else "too large" for row in models], blank)
    short = [
        verdict if verdict == "too large" and source != "in use" else source
        for source, verdict in zip(where, verdicts, strict=True)
    ]
    sizes = column([gib(row.total) for row in models], blank)
    contexts = column([f"{row.context // 1024}k" if row.context else "" for row in models], blank)
    long = [f"for {text} tokens" if text else "" for text in contexts]
    shown = [visible(name, single_line=True) for name in names]
    forms = [
        columns([*zip(shown, where, verdicts, sizes, long, strict=True)], right=(3,)),
        columns([*zip(shown, short, sizes, [t[4:] for t in long], strict=True)], right=(2,)),
        columns([*zip(shown, short, sizes, contexts, strict=True)], right=(2,)),
        columns([*zip(shown, short, sizes, strict=True)], right=(2,)),
        columns([*zip(shown, short, strict=True)]),
        columns([*zip((shorten_middle(name, _NAME_CELLS) for name in shown), short, strict=True)]),
    ]
    rows = [list(row) for row in zip(*forms, strict=True)]
    sources = columns([*zip(shown, where, strict=True)])
    for number, served_row in enumerate(served, here):
        row, about = rows[number], visible(served_row.about, single_line=True)
        whole = sources[number].append(f"  {about}")
        whole.pad_right(row[0].cell_len - whole.cell_len)
        cut = [row[-2].copy().append(f"  {clip(about, chars)}") for chars in _ABOUT_CHARS]
        row[:-1] = [whole, row[-2].copy().append(f"  {about}"), *cut, row[-2]]
    for name, row in zip(names, rows, strict=True):
        for text in row if name in used else ():
            text.stylize("bold")
    ids = column([row.name for row in models], [row.id for row in served])
    words = column([""] * len(models), [row.about for row in served])
    return [
        Choice(id_, row[0], words=about, narrower=row[1:])
        for id_, row, about in zip(ids, rows, words, strict=True)
    ]


def picker_of(choices: Sequence[Choice], *, title: str = "Models", in_use: str = "") -> Picker:
    """A picker of models; the highlight begins at the one in use."""
    hint = "enter uses the model, and downloads it if needed · esc closes"
    return Picker(title, choices, hint=hint, highlighted=in_use, search=address_typed,
                  placeholder=_SEARCH)  # fmt: skip


async def address_typed(text: str) -> list[Choice]:
    """The choice of the server whose address was typed."""
    if not _LIKE_AN_ADDRESS.fullmatch(text.strip()):
        return []
    label = Text(f"the server at {visible(text.strip(), single_line=True)}", no_wrap=True)
    return [Choice(f"{SERVER}{text.strip()}", label)]


def other_choices() -> list[Choice]:
    """What may be used instead of the models that are listed."""
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
    from laguna_agent.models.sizing.quant_choice import machine_room

    return machine_room()


def first_run_picker(memory: int, found: Sequence[FoundServer] = ()) -> tuple[Picker, str]:
    """The picker for a machine without a model, and advice for its `memory` in bytes.

    Models of servers that were `found` running here come first: they need no download.
    """
    from laguna_agent.models.catalogue import DEFAULT, STARTER, load_catalogue
    from laguna_agent.models.sizing.quant_choice import choose_quant

    catalogue = load_catalogue()
    best, starter = catalogue.get(DEFAULT), catalogue.get(STARTER)
    choice = choose_quant(best.entry, memory)
    fits = choice is not None
    best = choice.chosen if choice else best
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
    if found:
        running = ", ".join(dict.fromkeys(server.place for server in found))
        advice = f"{visible(running, single_line=True)} runs here; or, {advice}"
    title = "Welcome to laguna. Which model should it use?"
    hint = f"{advice}\nenter chooses · esc: choose later with /model"
    rows = model_choices([], found_rows(found)[:_MOST_FOUND])
    all_choices = [*rows, *choices, *other_choices()]
    picker = Picker(title, all_choices, hint=hint, search=address_typed, placeholder=_SEARCH)
    return picker, advice
