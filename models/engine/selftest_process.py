"""Writes a tiny model with every kind of layer, and decodes a few tokens with it.

    python -m laguna_agent.models.engine.selftest_process

Exits with 0 on success, else with a traceback or by a signal.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from laguna_agent.models.engine.llama import (
    Context,
    ContextOptions,
    LoadOptions,
    Model,
    redirect_log,
)
from laguna_agent.models.engine.synthetic import TINY, write_model


def main() -> None:
    """Run the check."""
    with tempfile.TemporaryDirectory(prefix="laguna-selftest-") as directory:
        redirect_log(Path(directory, "log"))
        path = Path(directory, "tiny.gguf")
        with path.open("wb") as file:
            write_model(file, TINY)
        model = Model(path, LoadOptions())
        context = Context(model, ContextOptions(512, 64, 64))
        context.decode(range(100, 164), 0)
        context.decode([100], 64)
        logits = context.logits()
        if not all(math.isfinite(logits[token]) for token in range(model.vocabulary)):
            raise SystemExit("llama.cpp computes logits that are not finite")
        context.close()
        model.close()


if __name__ == "__main__":
    main()
