"""Choosing a model, and getting one: what is here, the catalogue with what fits, servers."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.text import Text

from laguna_agent.errors import LagunaError, ModelError
from laguna_agent.interfaces.tui.screens.dialogs import Choice, Picker, Question
from laguna_agent.interfaces.tui.system.preferences import write_text
from laguna_agent.interfaces.tui.widgets.activity_line import size
from laguna_agent.interfaces.tui.widgets.fitted_row import columns, elided
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.interfaces.tui.app import LagunaApp

_ENDPOINT, _FILE = "endpoint:", "file:"
_NAME_CELLS = 24
"""Cells of a model's name where there is no room for all of it."""


async def choose(app: LagunaApp) -> None:
    """The picker of /model."""
    app.status.say("looking at this machine…", 10)
    choices = await asyncio.to_thread(_choices, _config(app))
    app.status.flash = ""
    chosen = await app.push_screen_wait(models_screen(choices))
    if chosen:
        await use(app, chosen)


async def first_run(app: LagunaApp, error: ModelError) -> None:
    """Nothing could be loaded. Without any model: explain what there is to choose."""
    from laguna_agent.models.store import Store

    if await asyncio.to_thread(lambda: Store().installed()):
        app.transcript_model.note(f"{error}\n/model chooses another one", "error")
        return
    screen, advice = first_screen(await asyncio.to_thread(_room))
    app.transcript_model.note(f"no model yet; {advice}")
    chosen = await app.push_screen_wait(screen)
    if chosen:
        await use(app, chosen)


async def use(app: LagunaApp, name: str) -> None:
    """Go on with the model `name`; fetch it first if it is not here."""
    from laguna_agent.models.servers.providers import provider_of
    from laguna_agent.models.store import Store, is_path

    if name == _ENDPOINT:
        await _endpoint(app)
        return
    if name == _FILE:
        answer = await app.push_screen_wait(Question("Path of a GGUF file"))
        if answer:
            await _import(app, answer)
        return
    config = _config(app)
    if name.endswith("/") and name[:-1] in config.providers:
        model = await app.push_screen_wait(Question(f"Name of the model at {name[:-1]}"))
        if not model:
            return
        name += model
    remote = provider_of(name, config.providers) is not None
    if not remote and not is_path(name):
        found = await asyncio.to_thread(Store().find, name)
        if found is None or not found.present:
            name = await _pull(app, name, offline=config.offline)
        else:
            name = found.name
    if not remote:
        await asyncio.to_thread(_make_default, name)
    _go_on(app, model=name)


def _config(app: LagunaApp) -> Any:
    from laguna_agent.config import load_config

    return app.agent.settings.config if app.agent.settings is not None else load_config()


def _go_on(app: LagunaApp, **changes: Any) -> None:
    """Open the conversation again, or a new one, with another configuration."""
    session = app.agent.session
    said = session is not None and bool(session.conversation_state.user_messages)
    config = _config(app).model_copy(update=changes)
    resume = session.trajectory.id if said and session is not None else None
    app.slash_commands.reopen("loading the model", config=config, resume=resume)


def _make_default(name: str) -> None:
    from laguna_agent.models.store import Store

    store = Store()
    if store.find(name) is not None:
        store.set_default(name)


# --- what there is ------------------------------------------------------------------------------


def _choices(config: Any) -> list[Choice]:
    from laguna_agent.interfaces.commands.fit_report import fit_report, to_fit
    from laguna_agent.models.store import Store

    store = Store()
    here = {one.name: one for one in store.installed() if one.present}
    rows = fit_report(to_fit(None, store), config.engine).rows
    models = [
        ModelRow(row.name, row.name in here, row.fits, row.total, row.largest_context)
        for row in sorted(rows, key=lambda row: row.name not in here)
    ]
    servers = {name: provider.url for name, provider in config.providers.items()}
    return [*model_choices(models, servers), *_others()]


class ModelRow(NamedTuple):
    """A model in the list: `total` bytes are needed, for up to `context` tokens."""

    name: str
    here: bool
    fits: bool
    total: int
    context: int | None


def model_choices(models: Sequence[ModelRow], servers: Mapping[str, str]) -> list[Choice]:
    """The models that could be used, and those of servers (names to addresses).

    With less room less is said of all of them: what is given away first is how large a context
    there would be, then the size; whether one can be used comes before all of its name.
    """
    from laguna_agent.models.sizing import fit

    names = [*(row.name for row in models), *(f"{name}/…" for name in servers)]
    where = ["here" if row.here else "fetch" for row in models] + ["server"] * len(servers)
    verdicts = ["fits" if row.fits else "too large" for row in models] + [""] * len(servers)
    short = [
        verdict if verdict == "too large" else place
        for place, verdict in zip(where, verdicts, strict=True)
    ]
    sizes = [fit.gib(row.total) for row in models] + [""] * len(servers)
    contexts = [f"{row.context // 1024}k" if row.context else "" for row in models]
    contexts += [""] * len(servers)
    long = [f"for {text} tokens" if text else "" for text in contexts]
    forms = [
        columns([*zip(names, where, verdicts, sizes, long, strict=True)], right=(3,)),
        columns([*zip(names, short, sizes, [t[4:] for t in long], strict=True)], right=(2,)),
        columns([*zip(names, short, sizes, contexts, strict=True)], right=(2,)),
        columns([*zip(names, short, sizes, strict=True)], right=(2,)),
        columns([*zip(names, short, strict=True)]),
        columns([*zip((elided(name, _NAME_CELLS) for name in names), short, strict=True)]),
    ]
    rows = [list(row) for row in zip(*forms, strict=True)]
    places = columns([*zip(names, where, strict=True)])
    for number, url in enumerate(servers.values(), len(models)):
        row, address = rows[number], f"  {visible(url, single_line=True)}"
        whole = places[number].append(address)
        whole.pad_right(row[0].cell_len - whole.cell_len)
        row[:-1] = [whole, row[-2].copy().append(address), row[-2]]
    ids = [*(row.name for row in models), *(f"{name}/" for name in servers)]
    return [Choice(id_, row[0], narrower=row[1:]) for id_, row in zip(ids, rows, strict=True)]


def models_screen(choices: list[Choice]) -> Picker:
    """The picker of /model."""
    hint = "enter uses it, and fetches it if it is not here · esc closes · type to search"
    return Picker("Models", choices, hint=hint)


def _others() -> list[Choice]:
    server = "a server that speaks the OpenAI API"
    return [
        Choice(
            _ENDPOINT,
            Text(f"{server} (llama-server, vLLM, …)"),
            narrower=[Text(server), Text("a server")],
        ),
        Choice(_FILE, Text("a GGUF file on this machine"), narrower=[Text("a GGUF file")]),
    ]


def _room() -> int:
    from laguna_agent.models.sizing.hardware import gpus, machine_memory

    return machine_memory().total + sum(card.free for card in gpus())


def first_screen(room: int) -> tuple[Picker, str]:
    """What is asked without any model, and what suits a machine with `room` bytes of memory."""
    from laguna_agent.models.catalogue import DEFAULT, STARTER, load_catalogue
    from laguna_agent.models.gguf import gigabytes
    from laguna_agent.models.sizing import fit

    catalogue = load_catalogue()
    best, starter = catalogue.get(DEFAULT), catalogue.get(STARTER)
    fits = fit.estimate(best, 32_768).total <= room
    models, abouts = (best, starter), ("the model laguna is made for", "small; for a first try")
    titles = [one.entry.title for one in models]
    names = [title.partition(", by ")[0] for title in titles]
    sizes = [gigabytes(one.file.size) for one in models]
    large = ["" if fits else "too large", ""]
    why = [f"{word} for this machine" if word else "" for word in large]
    said = [reason or about for reason, about in zip(why, abouts, strict=True)]
    forms = [
        columns([*zip(titles, sizes, abouts, why, strict=True)], right=(1,)),
        columns([*zip(names, sizes, said, strict=True)], right=(1,)),
        columns([*zip(names, sizes, large, strict=True)], right=(1,)),
        columns([*zip(names, large, strict=True)]),
    ]
    choices = []
    for one, (label, *narrower) in zip(models, zip(*forms, strict=True), strict=True):
        for text in (label, *narrower):
            text.stylize("bold")
        choices.append(Choice(one.name, label, narrower=narrower))
    if not fits:
        choices.reverse()
    name = names[0] if fits else names[1]
    advice = f"with {fit.gib(room)} of memory, {name} suits this machine"
    title = "Welcome to laguna. Which model should it think with?"
    hint = f"{advice}\nenter chooses · esc decides later (/model)"
    return Picker(title, [*choices, *_others()], hint=hint), advice


# --- getting one --------------------------------------------------------------------------------


@contextmanager
def _stoppable(app: LagunaApp, what: str) -> Iterator[threading.Event]:
    """Something goes on in a thread, which looks whether it is to stop."""
    stopped = threading.Event()
    app.begin(what)
    app.stop_download = stopped.set
    try:
        yield stopped
    finally:
        app.stop_download = None
        app.end()


async def _pull(app: LagunaApp, name: str, *, offline: bool) -> str:
    from laguna_agent.interfaces.transfer_progress import describe
    from laguna_agent.models.fetch.acquire import pull
    from laguna_agent.models.store import Store

    loop = asyncio.get_running_loop()

    def progress(at: Any) -> None:
        if stopped.is_set():
            raise ModelError(
                "the download was stopped", hint="What came is kept; it goes on there."
            )
        share = at.done / at.total if at.total else None
        loop.call_soon_threadsafe(
            app.activity.say, f"fetching {name}", describe(at).partition("  ")[2], share
        )

    def notice(text: str) -> None:
        loop.call_soon_threadsafe(app.transcript_model.note, text)

    with _stoppable(app, f"fetching {name}") as stopped:
        done = await asyncio.to_thread(
            pull, name, Store(), offline=offline, on_progress=progress, on_notice=notice
        )
    app.transcript_model.note(f"{done.name} is here: {done.path}")
    return done.name


async def _import(app: LagunaApp, path: str) -> None:
    from laguna_agent.models.fetch.acquire import import_file
    from laguna_agent.models.store import Store

    loop, what = asyncio.get_running_loop(), "looking at the file"

    def progress(done: int, total: int) -> None:
        if stopped.is_set():
            raise ModelError("the import was stopped", hint="Nothing was changed.")
        detail = f"{size(done)} of {size(total)}"
        loop.call_soon_threadsafe(app.activity.say, what, detail, done / max(1, total))

    with _stoppable(app, what) as stopped:
        done = await asyncio.to_thread(import_file, path, Store(), on_progress=progress)
    await asyncio.to_thread(_make_default, done.name)
    _go_on(app, model=done.name)


async def _endpoint(app: LagunaApp) -> None:
    from laguna_agent.config import ProviderConfig
    from laguna_agent.paths import config_dir

    url = await app.push_screen_wait(
        Question("Address of the server", value="http://127.0.0.1:8080/v1")
    )
    if not url:
        return
    model = await app.push_screen_wait(Question("Name of the model there"))
    if not model:
        return
    key = await app.push_screen_wait(
        Question("Environment variable that holds the key (empty: none)")
    )
    config = _config(app)
    name = "server"
    while name in config.providers and config.providers[name].url != url:
        name += "2"
    provider = ProviderConfig(url=url.strip(), key_env=(key or "").strip() or None)
    path = config_dir() / "config.toml"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except OSError as error:
        raise LagunaError(f"{path} cannot be read: {error.strerror}") from error
    if name not in config.providers:
        text = text.rstrip() + f"\n\n[providers.{name}]\nurl = {_quoted(provider.url)}\n"
        if provider.key_env:
            text += f"key_env = {_quoted(provider.key_env)}\n"
    if not re.search(r"^\s*model\s*=", text.partition("[")[0], re.MULTILINE):
        text = f"model = {_quoted(f'{name}/{model.strip()}')}\n{text.lstrip()}"
    write_text(path, text)
    app.transcript_model.note(f"written to {path}")
    providers = {**config.providers, name: provider}
    _go_on(app, model=f"{name}/{model.strip()}", providers=providers)


def _quoted(text: str) -> str:
    """A TOML string."""
    import json

    return json.dumps(text, ensure_ascii=False)
