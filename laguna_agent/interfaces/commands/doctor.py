"""`laguna doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from laguna_agent import __version__, paths
from laguna_agent.actions import Mode, RunCommand
from laguna_agent.byte_sizes import gib
from laguna_agent.errors import ExitCode, LagunaError, ModelError
from laguna_agent.interfaces.commands.command_line import (
    Parser,
    repository,
    write_json,
    write_line,
)
from laguna_agent.log import log_path
from laguna_agent.plurals import counted
from laguna_agent.policy.sanitize import visible
from laguna_agent.programs import find_program

if TYPE_CHECKING:
    from laguna_agent.config import Config

State = Literal["ok", "note", "bad"]
_MARKS: dict[State, str] = {"ok": "✓", "note": "-", "bad": "✗"}


class Finding(NamedTuple):
    """The result of one check. `fix` says what to do about it."""

    name: str
    state: State
    text: str
    fix: str = ""


def make_parser() -> Parser:
    """The command line of `laguna doctor`."""
    parser = Parser(
        prog="laguna doctor",
        description="Check what works here, what does not, and what to do.",
        examples=("laguna doctor", "laguna doctor --why 'git push' --mode auto"),
    )
    parser.add_directory()
    parser.add_json()
    parser.add_argument("--why", metavar="COMMAND",
                        help="show what decides whether a shell command may run")  # fmt: skip
    parser.add_argument("--mode", choices=get_args(Mode), help="with --why: in this mode")
    parser.add_argument("--plan", action="store_true", help="with --why: in plan mode")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run all checks; 1 when something does not work."""
    options = make_parser().parse_args(argv)
    if options.why is not None:
        return explain(options)
    found = list(examine(repository(options)))
    if options.json:
        write_json([finding._asdict() for finding in found])
    else:
        for finding in found:
            fix = f" → {finding.fix}" if finding.fix else ""
            text = " ".join(f"{finding.text}{fix}".split("\n"))
            write_line(f"{_MARKS[finding.state]} {finding.name:12} {visible(text)}")
    return ExitCode.FAILED if any(f.state == "bad" for f in found) else ExitCode.DONE


def explain(options: argparse.Namespace) -> int:
    """Print the verdict about one command and the rule behind it; 0 when it runs unasked."""
    from laguna_agent.config import load_config
    from laguna_agent.policy import trust
    from laguna_agent.policy.gate import Gate
    from laguna_agent.policy.permissions import repository_rules
    from laguna_agent.policy.sandbox import make_sandbox

    root = repository(options)
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
            offline=config.offline,
            repository_rules=repository_rules(root),
        )
        decided[mode] = gate.decide(RunCommand(command=options.why, cwd=str(root)), tool="shell")
    if options.json:
        shown = {mode: decision.model_dump(mode="json") for mode, decision in decided.items()}
        write_json(shown)
    else:
        for mode, decision in decided.items():
            reason = f": {decision.reason}" if decision.reason else ""
            write_line(f"{mode:13}{decision.verdict:6} {visible(decision.rule + reason)}")
    runs = all(decision.verdict == "allow" for decision in decided.values())
    return ExitCode.DONE if runs else ExitCode.FAILED


def examine(root: Path) -> Iterator[Finding]:
    """Check everything that laguna depends on, in the order in which it would fail."""
    from laguna_agent.config import load_config

    yield Finding("laguna", "ok", f"{__version__}, Python {platform.python_version()}")
    config: Config | None = None
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "directories": lambda: _directories(root),
        "engine": _engine,
        "sandbox": lambda: _sandbox(root),
        "programs": _programs,
        "repository": lambda: _repository(root),
        "trust": lambda: _trust(root),
    }
    try:
        config = load_config()
    except LagunaError as error:  # once: what depends on it is left out
        yield Finding("config.toml", "bad", error.message, error.hint or "laguna config edit")
    else:
        known = config
        checks = {
            "rules": lambda: _rules(known, root),
            "model": lambda: _model(known),
            **checks,
            "variables": lambda: _variables(known),
        }
    for name, check in checks.items():
        try:
            yield from check()
        except LagunaError as error:
            yield Finding(name, "bad", error.message, error.hint or "")


def _directories(root: Path) -> Iterator[Finding]:
    for name, directory in (
        ("config", paths.config_dir()),
        ("data", paths.data_dir()),
        ("state", paths.repository_state_dir(root)),
    ):
        nearest = next(p for p in (directory, *directory.parents) if p.exists())
        free = shutil.disk_usage(nearest).free / 1e9
        yield Finding(name, "ok", f"{directory}  ({free:.0f} GB free)")
    yield Finding("log", "ok", f"{log_path()}; of engines: {paths.logs_dir()}")


def _rules(config: Config, root: Path) -> Iterator[Finding]:
    from laguna_agent.policy.permissions import repository_rules

    kept = repository_rules(root)
    for name, rules, where in (
        ("rules", config.policy.rules, "your configuration"),
        ("", kept, "permissions.toml of this repository"),
    ):
        if name or rules:
            yield Finding(name, "ok", f"{counted(len(rules), 'rule')} in {where}")
        for rule in rules:
            about = rule.tool or rule.path or rule.command or rule.host or rule.mcp
            yield Finding("", "ok", f"{rule.verdict}: {about}{' (write)' if rule.write else ''}")


def _model(config: Config) -> Iterator[Finding]:
    from laguna_agent.models.servers.providers import provider_of
    from laguna_agent.models.sizing.fit import choose_context, plan
    from laguna_agent.models.sizing.hardware import gpus, machine_memory
    from laguna_agent.models.store import Store, resolve

    wanted = config.model or Store().default
    if wanted and provider_of(wanted, config.providers):
        yield _server(wanted, config)
        return
    model = resolve(None, config)
    context = choose_context(model.header, config.engine)
    needed = plan(model.header, context, config.engine, gpus())
    memory = machine_memory()
    text = f"{model.name}: {gib(needed.host)} at {context} tokens, {gib(memory.available)} free"
    if needed.gpu:
        text += f"; {gib(needed.gpu)} more on the graphics card"
    state: State = "ok" if needed.host <= memory.available else "note"
    fix = "" if state == "ok" else "`laguna models fit` shows what fits."
    yield Finding("model", state, text, fix)


def _server(name: str, config: Config) -> Finding:
    """Whether the server of a model answers, and serves it."""
    import asyncio

    from laguna_agent.models.servers.endpoint import endpoint_of
    from laguna_agent.models.servers.model_list import NotAnApiError, list_models

    provider, _, model = name.partition("/")
    endpoint = endpoint_of(provider, config.providers[provider], offline=config.offline)
    fix = "`laguna models list` lists what is served. laguna models default NAME chooses another."
    try:
        found = asyncio.run(list_models(endpoint))
    except ModelError as error:
        # A server may answer chats, and not list its models.
        state: State = "note" if isinstance(error, NotAnApiError) else "bad"
        return Finding("model", state, f"{name}: {error.message}", f"{error.hint or ''} {fix}")
    if not found.serves(model):
        text = f"{name}: {endpoint.shown} answers, and does not list this model"
        return Finding("model", "note", text, fix)
    return Finding("model", "ok", f"{name}, on {endpoint.shown}, which answers")


def _engine() -> Iterator[Finding]:
    from importlib.util import find_spec

    from laguna_agent.models.engine import selftest
    from laguna_agent.models.sizing.hardware import backend, gpus, unused_card

    if find_spec("llama_cpp") is None:
        fix = "Run install.sh again, or `pip install llama-cpp-python`."
        yield Finding("engine", "bad", "llama-cpp-python is not installed", fix)
        return
    built = backend()
    kinds = {"cpu": "the processor", "cuda": "CUDA", "hip": "ROCm", "vulkan": "Vulkan",
             "metal": "Metal", "sycl": "SYCL"}  # fmt: skip
    if wrong := selftest.fault():
        text = f"llama.cpp, built for {kinds[built]}, {wrong}"
        fix = "Use another compiler: ./install.sh --uninstall; CC=gcc-13 CXX=g++-13 ./install.sh"
        yield Finding("engine", "bad", text, fix)
    else:
        yield Finding("engine", "ok", f"llama.cpp, built for {kinds[built]}")
    for card in gpus():
        text = f"{card.name}: {gib(card.free)} of {gib(card.total)} free"
        yield Finding("", "ok", text)
    if built == "cpu" and (maker := unused_card()):
        text = f"the {maker} graphics card is not used: llama.cpp was built for the processor"
        fix = "Install the Vulkan SDK, then ./install.sh --vulkan"
        if maker == "NVIDIA":
            fix = "Install the CUDA toolkit, then ./install.sh --cuda"
        yield Finding("", "note", text, fix)


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
        missing = sys.platform == "linux" and not find_program("bwrap")
        fix = install("bubblewrap") if missing else choice.fix
        yield Finding("sandbox", "note", choice.reason, fix)
    else:
        yield Finding("sandbox", "ok", choice.sandbox.name)


def _variables(config: Config) -> Iterator[Finding]:
    from laguna_agent.policy.environment import Inheritance, held_back

    if names := held_back(Inheritance.of(config)):
        yield Finding(
            "variables",
            "note",
            f"commands do not get {', '.join(names)}",
            f'pass = ["{names[0]}"] under [policy.environment] in config.toml passes one',
        )


def _programs() -> Iterator[Finding]:
    needs: tuple[tuple[str, State, str, str], ...] = (
        ("bash", "bad", "bash", "commands run in it"),
        ("git", "bad", "git", "checkpoints and the git tool need it"),
        ("rg", "note", "ripgrep", "without it, searching is slower"),
    )
    for name, state, package, why in needs:
        path = find_program(name)
        text = path or f"not found; {why}"
        yield Finding(name, "ok" if path else state, text, "" if path else install(package))


def install(package: str) -> str:
    """What to type to install a package here."""
    for program, command in (
        ("apt-get", "sudo apt-get install"),
        ("dnf", "sudo dnf install"),
        ("pacman", "sudo pacman -S"),
        ("zypper", "sudo zypper install"),
        ("apk", "sudo apk add"),
        ("brew", "brew install"),
    ):
        if find_program(program):
            return f"{command} {package}"
    return f"install {package}"


def _repository(root: Path) -> Iterator[Finding]:
    from laguna_agent.tools.repository.git_command import GitError, git_output

    if not (root / ".git").exists():
        text = f"{root} is not in a git repository, so there is no history to compare with"
        yield Finding(
            "repository", "note", text, "cd to your project; git init makes it a repository"
        )
        return
    try:
        git_output(root, "config", "user.email", timeout=5)
    except GitError:
        fix = 'git config --global user.name "Your Name"; git config --global user.email you@host'
        yield Finding("repository", "note", "git does not know you, so it cannot commit", fix)
    else:
        yield Finding("repository", "ok", str(root))


def _trust(root: Path) -> Iterator[Finding]:
    from laguna_agent.policy import trust

    content = trust.content(root)
    if content.empty:
        yield Finding("trust", "ok", f"{root} has nothing that needs trust")
    elif trust.is_trusted(root):
        yield Finding("trust", "ok", f"trusted: {', '.join(content.files)}")
    else:
        yield Finding(
            "trust",
            "note",
            f"not trusted, so not read: {', '.join(content.files)}",
            "laguna trust, or --trust for one run",
        )
