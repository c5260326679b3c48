"""What the static prefix costs, by real tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.interfaces.commands.pack_cost import TargetModel, TokenMeter
from laguna_agent.models.chat import format_for
from laguna_agent.models.chat.chat_format import Segment
from laguna_agent.models.engine.vocabulary import Vocabulary, open_vocabulary
from laguna_agent.prompts.loader.pack import load_pack
from laguna_agent.prompts.loader.templates import StaticVariables
from laguna_agent.tools.registry import builtin_tools
from support.packs import laguna_vocabulary, specs_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("pack", "limit"), [("laguna", 1000), ("small", 600), ("plan", 1000)])
def test_packs_keep_to_their_budget_on_the_starters_tokenizer(
    starter_model: Path, pack: str, limit: int
) -> None:
    with open_vocabulary(starter_model) as vocabulary:
        meter = TokenMeter(TargetModel("laguna-xs-2.1", starter_model), vocabulary)
        loaded = load_pack(pack, model_name="laguna-xs-2.1")
        rendered = meter.measure(loaded, builtin_tools())
    assert rendered.exact
    assert 100 < rendered.tokens < limit
    assert rendered.tokens == len(rendered.pieces)
    assert "".join(rendered.pieces) == rendered.prefix
    assert sum(part.tokens for part in rendered.parts) == rendered.tokens
    names = {part.name.removeprefix("tools/") for part in rendered.parts}
    assert set(loaded.tool_names(builtin_tools())) <= names


@pytest.mark.parametrize("version", ["v4", "v5", "v8"])
@pytest.mark.parametrize("thinking", [False, True])
def test_the_default_pack_costs_under_a_thousand_tokens_with_a_vocabulary_like_lagunas(
    starter_model: Path, version: str, thinking: bool
) -> None:
    with open_vocabulary(laguna_vocabulary(starter_model)) as vocabulary:
        assert vocabulary.info.architecture == "laguna"
        tokens = count(vocabulary, version, thinking)
    assert 500 < tokens < 1000


def count(vocabulary: Vocabulary, version: str, thinking: bool) -> int:
    tools = builtin_tools()
    pack = load_pack("laguna", model_name="laguna-xs-2.1")
    static = StaticVariables(
        model="laguna-xs-2.1",
        format="laguna",
        tools=tuple(pack.tool_names(tools)),
        thinking=thinking,
    )
    form = format_for(
        None,
        architecture="laguna",
        template=f"{{#- laguna_{version} #}}",
        model_name="laguna-xs-2.1",
        thinking=thinking,
    )
    prefix = form.render_start(pack.system(static), specs_of(pack.tools(tools, static)))
    return len(vocabulary.pieces([prefix])[0])


def test_pieces_are_the_tokens_of_the_model(starter_model: Path) -> None:
    with open_vocabulary(starter_model) as vocabulary:
        parts = [Segment("<|im_start|>", special=True), Segment("<|im_start|> é")]
        assert vocabulary.pieces([parts, []]) == [
            ["<|im_start|>", "<", "|", "im", "_start", "|", ">", " é"],
            [],
        ]
