"""The tokenizer of a model file alone: quick and small, compared to loading the model.

`open_vocabulary` starts a child process that loads the vocabulary and tokenizes.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from laguna_agent.errors import ModelError
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.programs import python_command


@dataclass(frozen=True)
class VocabularyInfo:
    """The parts of a file's header that chat formats need; `bos` and `eos` are token texts."""

    architecture: str
    template: str | None
    bos: str
    eos: str


class Vocabulary:
    """The tokenizer of a model file; made by `open_vocabulary`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = subprocess.Popen(
            python_command("laguna_agent.models.engine.vocabulary_process", str(path.absolute())),
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.info = VocabularyInfo(**self._answer())

    def pieces(self, texts: Sequence[Sequence[Segment]]) -> list[list[str]]:
        """The tokens of each text, spelled out. Joined they give the text, except for characters
        split between tokens, which are shown as replacement characters."""
        request = [[[part.text, part.special] for part in text] for text in texts]
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self._fail()
        return [[str(piece) for piece in text] for text in self._answer()]

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else self._fail()

    def _fail(self) -> NoReturn:
        self._process.kill()
        _, errors = self._process.communicate()
        last = errors.decode("utf-8", "replace").strip().split("\n")[-1]
        raise ModelError(f"the vocabulary of {self.path} cannot be read: {last}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def open_vocabulary(path: Path) -> Iterator[Vocabulary]:
    """The vocabulary of a GGUF file. Raises ModelError when it cannot be read."""
    vocabulary = Vocabulary(path)
    try:
        yield vocabulary
    finally:
        vocabulary.close()
