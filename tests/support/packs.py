"""Packs in tests: writing their files, their declarations, and a vocabulary like Laguna's."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from laguna_agent.models.conversation import ToolSpec
from laguna_agent.prompts.loader.pack import PackTool
from support.synthetic import cache_dir

LAGUNA_VOCABULARY = 100_352
SPECIALS = {2: "〈|EOS|〉", 18: "<think>", 19: "</think>", 23: "<assistant>",
            24: "</assistant>", 25: "<tool_call>", 26: "</tool_call>"}  # fmt: skip


def write_files(root: Path, files: dict[str, str]) -> Path:
    """Write files below `root`, folders too; returns it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def specs_of(tools: Sequence[PackTool]) -> list[ToolSpec]:
    """The declarations in the form that a conversation takes."""
    return [
        ToolSpec(name=t.name, description=t.description, parameters=t.parameters) for t in tools
    ]


def laguna_vocabulary(starter: Path) -> Path:
    """A vocabulary with Laguna's size, rules and special tokens, and the starter's merges.

    Laguna's own vocabulary is only in its model files, which are too large for tests. Merges are
    in order of frequency, so the first 100,352 tokens of the starter's come close to it.
    """
    import gguf

    path = cache_dir() / "laguna-vocabulary-1.gguf"
    with (cache_dir() / "laguna-vocabulary.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path
        reader = gguf.GGUFReader(starter)
        tokens = reader.get_field("tokenizer.ggml.tokens").contents()[:LAGUNA_VOCABULARY]
        merges = reader.get_field("tokenizer.ggml.merges").contents()
        for place, text in SPECIALS.items():
            # The replaced token moves to the end, so that no byte is lost.
            tokens[-1 - place] = tokens[place]
            tokens[place] = text
        known = set(tokens)
        merges = [m for m in merges if "".join(m.split(" ")) in known]
        part = path.with_suffix(f".{os.getpid()}.part")
        writer = gguf.GGUFWriter(part, "laguna")
        writer.add_block_count(1)
        writer.add_context_length(131_072)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("laguna")
        writer.add_token_list(tokens)
        writer.add_token_types([3 if n in SPECIALS else 1 for n in range(len(tokens))])
        writer.add_token_merges(merges)
        writer.add_bos_token_id(2)
        writer.add_eos_token_id(2)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.replace(path)
    return path
