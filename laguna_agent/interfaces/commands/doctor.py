"""`laguna doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from laguna_agent import __version__, paths
from laguna_agent.actions import Mode, RunCommand
from laguna_agent.errors import ExitCode, LagunaError

State = Literal["ok", "note", "bad"]


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: State
    text: str
    mend: str = ""


def main(argv: list[str]) -> int:
    """Look at everything; 1 when something does not work."""
    parser = argparse.ArgumentParser(
        prog="laguna doctor", description="Say what works here, what does not, and what to do."
    )
    parser.add_argument("-C", dest="directory", metavar="DIR", default=".")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--why", metavar="COMMAND", help="say what would decide about a command")
    parser.add_argument("--mode", choices=get_args(Mode), help="with --why: in this mode")
    parser.add_argument("--plan", action="store_true", help="with --why: while planning")
    options = parser.parse_args(argv)
    if options.why is not None:
        return why(options)
    found = list(examine(Path(options.directory)))
    if options.json:
        sys.stdout.write(json.dumps([finding._asdict() for finding in found]) + "\n")
    else:
        marks = {"ok": "✓", "note": "-", "bad": "✗"}
        for finding in found:
            sys.stdout.write(f"{marks[finding.state]} {finding.name:12} {finding.text}\n")
            if finding.mend:
                sys.stdout.write(f"{'':15}{finding.mend}\n")
    return ExitCode.FAILED if any(f.state == "bad" for f in found) else ExitCode.DONE


def why(options: argparse.Namespace) -> int:
    """Print the verdict about one command and the rule that decided; 0 when it would just run."""
    from laguna_agent.config import load_config
    from laguna_agent.policy import trust
    from laguna_agent.policy.gate import Gate
    from laguna_agent.policy.sandbox import make_sandbox
    from laguna_agent.policy.sanitize import visible

    root = paths.repository_root(Path(options.directory))
    trusted = trust.is_trusted(root)
    config = load_config(project=root / trust.SETTINGS / "config.toml" if trusted else None)
    network = config.policy.network and not config.offline
    choice = make_sandbox(
        workspace=root,
        enabled=config.policy.sandbox,
        network=network,
        writable=[],
        state_dir=paths.repository_state_dir(root),
    )
    decided = {}
    modes: tuple[Mode, ...] = (options.mode,) if options.mode else ("ask", "auto")
    for mode in modes:
        gate = Gate(
            mode=mode,
            plan=options.plan,
            workspace=root,
            rules=config.policy.rules,
            sandboxed=choice.confined,
            network=network,
            trusted=trusted,
            interactive=True,
            offline=config.offline,
        )
        decided[mode] = gate.decide(RunCommand(command=options.why, cwd=str(root)), tool="shell")
    if options.json:
        shown = {mode: decision.model_dump(mode="json") for mode, decision in decided.items()}
        sys.stdout.write(json.dumps(shown) + "\n")
    else:
        for mode, decision in decided.items():
            reason = f": {decision.reason}" if decision.reason else ""
            sys.stdout.write(f"{mode:13}{decision.verdict:6} {visible(decision.rule + reason)}\n")
    passes = all(decision.verdict == "allow" for decision in decided.values())
    return ExitCode.DONE if passes else ExitCode.FAILED


def examine(directory: Path) -> Iterator[Finding]:
    """Everything that laguna depends on, in the order in which it would fail."""
    yield Finding("laguna", "ok", f"{__version__}, Python {platform.python_version()}")
    root = paths.repository_root(directory)
    for look in (_places, _configuration, _model, _engine, _sandbox, _programs, _trust):
        try:
            yield from look(root)
        except LagunaError as error:
            yield Finding(look.__name__.strip("_"), "bad", error.message, error.hint or "")


def _places(root: Path) -> Iterator[Finding]:
    for name, place in (
        ("config", paths.config_dir()),
        ("data", paths.data_dir()),
        ("state", paths.repository_state_dir(root)),
    ):
        nearest = next(p for p in (place, *place.parents) if p.exists())
        free = shutil.disk_usage(nearest).free / 1e9
        yield Finding(name, "ok", f"{place}  ({free:.0f} GB free)")


def _configuration(root: Path) -> Iterator[Finding]:
    from laguna_agent.config import load_config

    config = load_config()
    rules = config.policy.rules
    yield Finding("rules", "ok", f"{len(rules)} of the user's own")
    for rule in rules:
        about = rule.tool or rule.path or rule.command or rule.host
        yield Finding("", "ok", f"{rule.verdict}: {about}{' (write)' if rule.write else ''}")


def _model(root: Path) -> Iterator[Finding]:
    from laguna_agent.config import load_config
    from laguna_agent.models.sizing.fit import choose_context, gib, plan
    from laguna_agent.models.sizing.hardware import gpus, machine_memory
    from laguna_agent.models.store import resolve

    config = load_config()
    model = resolve(None, config)
    context = choose_context(model.header, config.engine)
    needed = plan(model.header, context, config.engine, gpus())
    memory = machine_memory()
    text = f"{model.name}: {gib(needed.host)} at {context} tokens, {gib(memory.available)} free"
    if needed.gpu:
        text += f"; {gib(needed.gpu)} more on the graphics card"
    state: State = "ok" if needed.host <= memory.available else "note"
    mend = "" if state == "ok" else "`laguna models fit` shows what fits."
    yield Finding("model", state, text, mend)


def _engine(root: Path) -> Iterator[Finding]:
    from importlib.util import find_spec

    from laguna_agent.models.engine import selftest
    from laguna_agent.models.sizing.fit import gib
    from laguna_agent.models.sizing.hardware import backend, gpus, nvidia_cards

    if find_spec("llama_cpp") is None:
        mend = "Run install.sh again, or `pip install llama-cpp-python`."
        yield Finding("engine", "bad", "llama-cpp-python is not installed", mend)
        return
    built = backend()
    kinds = {"cpu": "the processor", "cuda": "CUDA", "vulkan": "Vulkan", "metal": "Metal"}
    if wrong := selftest.fault():
        text = f"llama.cpp, built for {kinds[built]}, {wrong}"
        mend = "./install.sh --uninstall, then CC=gcc-13 CXX=g++-13 ./install.sh (or others)"
        yield Finding("engine", "bad", text, mend)
    else:
        yield Finding("engine", "ok", f"llama.cpp, built for {kinds[built]}")
    for card in gpus():
        text = f"{card.name}: {gib(card.free)} of {gib(card.total)} free"
        yield Finding("", "ok", text)
    if built == "cpu" and (unused := nvidia_cards()):
        text = f"{unused[0].name} is not used: llama.cpp was built for the processor"
        yield Finding("", "note", text, "Install the CUDA toolkit, then ./install.sh --cuda")


def _sandbox(root: Path) -> Iterator[Finding]:
    from laguna_agent.policy.sandbox import make_sandbox

    choice = make_sandbox(
        workspace=root,
        enabled=True,
        network=False,
        writable=[],
        state_dir=paths.repository_state_dir(root),
    )
    if choice.sandbox.name == "none":
        mend = "Debian: apt-get install bubblewrap" if sys.platform == "linux" else ""
        yield Finding("sandbox", "note", choice.reason, mend)
    else:
        yield Finding("sandbox", "ok", choice.sandbox.name)


def _programs(root: Path) -> Iterator[Finding]:
    needs: tuple[tuple[str, State, str], ...] = (
        ("bash", "bad", "laguna's shell is bash"),
        ("git", "bad", "checkpoints and the git tool need it"),
        ("rg", "note", "without ripgrep, searching is slower"),
    )
    which: Callable[[str], str | None] = shutil.which
    for name, state, why in needs:
        path = which(name)
        yield Finding(name, "ok" if path else state, path or "not found", "" if path else why)


def _trust(root: Path) -> Iterator[Finding]:
    from laguna_agent.policy import trust

    content = trust.content(root)
    if content.empty:
        yield Finding("trust", "ok", f"{root} brings nothing that needs trust")
    elif trust.is_trusted(root):
        yield Finding("trust", "ok", f"trusted: {', '.join(content.files[:5])}")
    else:
        yield Finding(
            "trust",
            "note",
            f"not trusted, so not read: {', '.join(content.files[:5])}",
            "`laguna trust` shows and trusts them; --trust reads them for one run.",
        )
