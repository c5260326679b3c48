"""Checks what a grammar accepts with the real llama.cpp and the vocabulary of a model file."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import llama_cpp.llama_cpp as lib

from laguna_agent.models.chat.chat_format import Grammar
from support.llama_log import silence

Verdict = Literal["complete", "partial", "refused", "invalid"]


class Vocabulary:
    """The tokens of a model file; its weights are not loaded."""

    def __init__(self, path: Path) -> None:
        silence()
        parameters = lib.llama_model_default_params()
        parameters.vocab_only = True
        self._model = lib.llama_model_load_from_file(str(path).encode(), parameters)
        assert self._model, path
        self.handle = lib.llama_model_get_vocab(self._model)

    def tokens(self, text: str, *, special: bool = True) -> list[int]:
        data = text.encode()
        room = (lib.llama_token * (len(data) + 8))()
        count = lib.llama_tokenize(self.handle, data, len(data), room, len(room), False, special)
        assert count >= 0
        return list(room[:count])

    def end(self) -> int:
        return int(lib.llama_vocab_eot(self.handle))


class Acceptor:
    """The state of a grammar that is fed tokens."""

    def __init__(self, vocabulary: Vocabulary, grammar: Grammar) -> None:
        self._vocabulary = vocabulary
        args: tuple[Any, ...] = (vocabulary.handle, grammar.gbnf.encode(), grammar.root.encode())
        if grammar.lazy:
            triggers = [vocabulary.tokens(text) for text in grammar.trigger_tokens]
            assert all(len(ids) == 1 for ids in triggers)
            ids = (lib.llama_token * max(len(triggers), 1))(*(ids[0] for ids in triggers))
            patterns = [pattern.encode() for pattern in grammar.trigger_patterns]
            texts = (ctypes.c_char_p * max(len(patterns), 1))(*patterns)
            self._sampler = lib.llama_sampler_init_grammar_lazy_patterns(
                *args, texts, len(patterns), ids, len(triggers)
            )
        else:
            self._sampler = lib.llama_sampler_init_grammar(*args)

    @property
    def valid(self) -> bool:
        return bool(self._sampler)

    def allows(self, token: int) -> bool:
        one = (lib.llama_token_data * 1)(lib.llama_token_data(token, 0.0, 0.0))
        array = lib.llama_token_data_array(one, 1, -1, False)
        lib.llama_sampler_apply(self._sampler, ctypes.byref(array))
        return not math.isinf(one[0].logit)

    def feed(self, tokens: Sequence[int]) -> bool:
        for token in tokens:
            if not self.allows(token):
                return False
            lib.llama_sampler_accept(self._sampler, token)
        return True

    def close(self) -> None:
        if self._sampler:
            lib.llama_sampler_free(self._sampler)


def verdict(
    vocabulary: Vocabulary, grammar: Grammar, text: str, *, special: bool = True
) -> Verdict:
    """The grammar's verdict on `text`: a whole reply, the beginning of one, or neither."""
    acceptor = Acceptor(vocabulary, grammar)
    try:
        if not acceptor.valid:
            return "invalid"
        if not acceptor.feed(vocabulary.tokens(text, special=special)):
            return "refused"
        return "complete" if acceptor.allows(vocabulary.end()) else "partial"
    finally:
        acceptor.close()


@functools.cache
def vocabulary_of(path: Path) -> Vocabulary:
    return Vocabulary(path)
