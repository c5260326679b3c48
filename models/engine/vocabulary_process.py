"""The child process of `vocabulary`: loads a vocabulary, splits texts into tokens, line by line.

The first line out is what the file says of itself; then each line in is a list of texts (lists of
segments: text, whether specials are parsed), and each line out the tokens of each text.
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
    _say(
        {
            "architecture": model.architecture,
            "template": model.template,
            "bos": _spelled(model.piece(model.bos)) if model.bos >= 0 else "",
            "eos": _spelled(model.piece(model.eos)) if model.eos >= 0 else "",
        }
    )
    for line in sys.stdin:
        _say(
            [
                [
                    _spelled(model.piece(token))
                    for part, special in text
                    for token in model.tokenize(part, special=special)
                ]
                for text in json.loads(line)
            ]
        )


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _spelled(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
