"""The child process of `vocabulary`: loads a vocabulary and splits texts into tokens.

The first line of output describes the file. Then each line of input is a list of texts (lists of
segments: text, whether special tokens are parsed), and each line of output the tokens of each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from laguna_agent.models.engine.llama import LoadOptions, Model, redirect_log
from laguna_agent.paths import logs_dir


def _serve(path: Path) -> None:
    redirect_log(logs_dir() / "vocabulary.log")
    model = Model(path, LoadOptions(vocabulary_only=True))
    _write(
        {
            "architecture": model.architecture,
            "template": model.template,
            "bos": _spell(model.piece(model.bos)) if model.bos >= 0 else "",
            "eos": _spell(model.piece(model.eos)) if model.eos >= 0 else "",
        }
    )
    for line in sys.stdin:
        _write(
            [
                [
                    _spell(model.piece(token))
                    for part, special in text
                    for token in model.tokenize(part, special=special)
                ]
                for text in json.loads(line)
            ]
        )


def _write(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _spell(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
