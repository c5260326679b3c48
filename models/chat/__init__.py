"""Chat formats: rendering a conversation to tokens, and parsing replies."""

from __future__ import annotations

from laguna_agent.errors import UsageError
from laguna_agent.models.chat.chat_format import ChatFormat

FORMATS = ("laguna", "chatml", "generic", "fenced")
"""Names that `format_for` takes."""

__all__ = ["FORMATS", "ChatFormat", "format_for"]


def format_for(
    name: str | None,
    *,
    architecture: str,
    template: str | None,
    model_name: str,
    thinking: bool | None = None,
    bos: str = "",
    eos: str = "",
) -> ChatFormat:
    """The chat format for a model.

    `name` is one of FORMATS, or None to choose by the file's `architecture` and `template` (its
    own Jinja chat template). `thinking` is for formats whose static prefix depends on it. `bos` and
    `eos` are the texts of the file's special tokens, for templates that write them. Raises
    UsageError for an unknown name.
    """
    chosen = name or _choose(architecture, template)
    if chosen == "laguna":
        from laguna_agent.models.chat.laguna import LagunaFormat, version_of

        return LagunaFormat(version_of(template), thinking=thinking)
    if chosen == "chatml":
        from laguna_agent.models.chat.chatml import ChatMLFormat

        return ChatMLFormat(
            thinks="enable_thinking" in (template or ""),
            native_tags="<tool_call>" in (template or ""),
        )
    if chosen == "generic":
        from laguna_agent.models.chat.generic import GenericFormat

        return GenericFormat(
            template or "", model_name=model_name, thinking=thinking, bos=bos, eos=eos
        )
    if chosen == "fenced":
        from laguna_agent.models.chat.fenced import FencedFormat

        return FencedFormat()
    raise UsageError(
        f"there is no chat format `{chosen}`", hint=f"Known formats: {', '.join(FORMATS)}."
    )


def _choose(architecture: str, template: str | None) -> str:
    if architecture == "laguna":
        return "laguna"
    text = template or ""
    if not text:
        return "chatml"
    if "<|im_start|>" in text:
        # a template that declares another form of calls is run rather than imitated
        same_calls = "<tool_call>" in text and "arguments" in text and "<function=" not in text
        return "chatml" if same_calls or "tools" not in text else "generic"
    return "generic"
