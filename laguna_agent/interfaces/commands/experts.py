"""`laguna models experts`: which experts the layers of a model choose for the tokens of texts."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from laguna_agent.errors import ExitCode, LagunaError, UsageError
from laguna_agent.interfaces.commands.command_line import (
    Actions,
    run_async,
    whole_number,
    write_json,
    write_line,
    write_progress,
)
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.config import Config
    from laguna_agent.models.gguf import GgufHeader
    from laguna_agent.models.routing import Routing
    from laguna_agent.models.store import Store

_TOKENS = 1024
_BYTES = 16 << 20
"""Size of the largest text that is read."""


def declare(actions: Actions) -> None:
    """Add the action to `laguna models`."""
    action = actions.add(
        "experts", _run, "Show which experts each layer chooses for texts, and how they differ."
    )
    action.add_argument("model", metavar="MODEL", help="a name or a path")
    action.add_argument("texts", metavar="FILE|TEXT", nargs="+",
                        help="a file, - for standard input, or the text itself")  # fmt: skip
    action.add_argument("--tokens", type=whole_number(1), default=_TOKENS, metavar="N",
                        help=f"of each text at most (default: {_TOKENS:,})")  # fmt: skip
    action.add_argument("--html", metavar="FILE", help="write a page with all of it to FILE")
    action.add_json()


def _run(options: argparse.Namespace, config: Config, store: Store) -> int:
    from laguna_agent.interfaces.routing_report import make_report, report_lines
    from laguna_agent.models.gguf import read_header
    from laguna_agent.models.store import resolve

    texts = [read_text(given, number) for number, given in enumerate(options.texts, 1)]
    model = resolve(options.model, config, store=store)
    header = read_header(model.path)
    require_experts(model.name, header)
    routings = run_async(_measure(model.path, model.sha256, header, config, texts, options.tokens))
    report = make_report(model.name, routings)
    if options.html:
        from laguna_agent.interfaces.commands.experts_page import page

        try:
            Path(options.html).expanduser().write_text(page(report), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{options.html} cannot be written: {error.strerror}") from error
        write_progress(f"wrote {options.html}")
    if options.json:
        write_json(report)
    elif not options.html:
        width = shutil.get_terminal_size((80, 24)).columns
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        for line in report_lines(report, width, colour=colour):
            write_line(line)
    return ExitCode.DONE


def require_experts(name: str, header: GgufHeader) -> None:
    """Raise UsageError when a model has no experts."""
    if not header.expert_bytes:
        raise UsageError(
            f"{name} has no experts: every token passes all of its weights, so nothing is chosen"
        )


def read_text(given: str, number: int) -> tuple[str, str]:
    """The name and the content of a text: that of the file, or what was given itself.

    Raises UsageError for a file that is missing, unreadable, too large or not text.
    """
    path = Path(given).expanduser()
    try:
        if not given.strip():
            name, data = f"text {number}", b""
        elif given == "-":
            name, data = "standard input", sys.stdin.buffer.read(_BYTES + 1)
        elif _names_file(given, path):
            name = given
            with path.open("rb") as file:
                data = file.read(_BYTES + 1)
        else:
            name, data = f"text {number}", given.encode("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(f"{given} cannot be read: {error.strerror}") from error
    if len(data) > _BYTES:
        raise UsageError(f"{name} is larger than {_BYTES >> 20} MiB", hint="Give a part of it.")
    if b"\0" in data:
        raise UsageError(f"{name} is not text")
    text = data.decode("utf-8", "replace")
    if not text.strip():
        raise UsageError(f"{name} is empty")
    return name, text


def _names_file(given: str, path: Path) -> bool:
    """A word without spaces that looks like a path is one, so that a typing error is noticed."""
    try:
        if path.exists():
            return True
    except OSError:  # too long for a name
        return False
    return not any(letter.isspace() for letter in given) and (
        "/" in given or path.suffix[1:].isalnum()
    )


async def _measure(
    path: Path,
    sha256: str | None,
    header: GgufHeader,
    config: Config,
    texts: Sequence[tuple[str, str]],
    limit: int,
) -> list[Routing]:
    from laguna_agent.models.chat.chat_format import Segment
    from laguna_agent.models.conversation import Sampling
    from laguna_agent.models.engine.client import open_engine
    from laguna_agent.models.engine.interface import EngineRequest
    from laguna_agent.models.routing import Routing
    from laguna_agent.models.sizing.fit import choose_context

    # The settings of a session, so that an engine that runs is used.
    context = choose_context(header, config.engine)
    settings = config.engine.model_copy(update={"context": context})
    engine = await open_engine(path, config=settings, sha256=sha256)
    routings = []
    try:
        for name, text in texts:
            # A token has at least a byte, and no tokenizer makes more of them than bytes.
            tokens = await engine.tokenize([Segment(text)])
            whole, tokens = len(tokens), tokens[: min(limit, context)]
            part = f" of {whole:,}" if whole > len(tokens) else ""
            write_progress(f"{visible(name)}: {len(tokens):,}{part} tokens")
            request = EngineRequest(tokens, Sampling(temperature=0), 0, resume=len(tokens))
            found = await engine.examine(request)
            if not found.layers:
                raise LagunaError(
                    f"llama.cpp does not show which experts a {header.architecture} model chooses"
                )
            routings.append(
                Routing(
                    name,
                    found.layers,
                    found.arrays["experts"],
                    found.arrays["weights"],
                    header.integer("expert_count"),
                )
            )
    finally:
        await engine.aclose()
    return routings
