"""What an engine tells of its model, and what it refuses."""

from __future__ import annotations

from typing import Any

from laguna_agent.errors import ModelError
from laguna_agent.models.engine.llama import ContextOptions, Model, build_info
from laguna_agent.models.engine.tuning_store import fingerprint
from laguna_agent.models.gguf import GgufHeader


def describe(model: Model, header: GgufHeader, sha256: str | None, context: int) -> dict[str, Any]:
    """The fields of EngineModel. `context` is in tokens."""
    return {
        "path": str(model.path),
        "sha256": sha256,
        "architecture": model.architecture,
        "quantization": header.quantization,
        "parameters": model.parameters,
        "size_bytes": header.size,
        "context": context,
        "template": model.template,
        "metadata": model.metadata,
        "bos": model.bos,
        "eos": model.eos,
        "build": build_info(),
    }


def check_ends(model: Model) -> None:
    """Refuse a Laguna whose `</assistant>` is not an end token: its replies would never end."""
    if model.architecture != "laguna":
        return
    token = model.token_of("</assistant>")
    if token is None or not model.is_end(token):
        raise ModelError(
            f"{model.path} does not mark `</assistant>` as an end-of-generation token",
            hint="Its replies would never end. Use another file of this model.",
        )


def state_key(
    model: Model, options: ContextOptions, sha256: str | None, context: int
) -> dict[str, Any]:
    """Everything that a saved state depends on besides its tokens. The size of the context counts
    only where it decides on the scaling of positions."""
    original = model.number("rope.scaling.original_context_length")
    return {
        "model": sha256 or fingerprint(model.path),
        "name": model.metadata.get("general.name"),
        "build": build_info(),
        "kv_type": options.kv_type,
        "flash_attention": options.flash_attention,
        "rope": {k: v for k, v in model.metadata.items() if ".rope." in k},
        "beyond_original_context": bool(original and context > original),
    }
