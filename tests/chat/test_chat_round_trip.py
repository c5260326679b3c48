"""Grammar, rendering and parser of calls agree."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laguna_agent.models.chat.chat_format import ChatFormat
from laguna_agent.models.chat.chatml import ChatMLFormat
from laguna_agent.models.chat.laguna import LagunaFormat
from laguna_agent.models.conversation import GenerateOptions, ToolSpec
from laguna_agent.tools.registry import builtin_tools, declaration
from support.grammars import verdict, vocabulary_of
from support.synthetic import tiny_laguna

REQUIRED = GenerateOptions(tool_choice="required")
TOOL = ToolSpec(
    name="mix",
    description="",
    parameters={
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "number": {"type": "integer"},
            "flag": {"type": "boolean"},
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "list": {"type": "array", "items": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "number"}},
        },
        "required": ["text", "list"],
    },
)
# no model has a token for a NUL byte
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
arguments = st.fixed_dictionaries(
    {"text": texts, "list": st.lists(texts, max_size=3)},
    optional={
        "number": st.integers(-(10**15), 10**15),
        "flag": st.booleans(),
        "maybe": st.one_of(st.none(), texts.filter(lambda text: text != "null")),
        "map": st.dictionaries(
            st.text("abc", min_size=1, max_size=3), st.integers(0, 99), max_size=2
        ),
    },
)


def write(chat: ChatFormat, given_arguments: dict[str, Any]) -> str:
    declared = [key for key in TOOL.parameters["properties"] if key in given_arguments]
    ordered = {key: given_arguments[key] for key in declared}
    if isinstance(chat, ChatMLFormat):
        call = json.dumps({"name": "mix", "arguments": ordered}, ensure_ascii=False)
        return f"<tool_call>\n{call}\n</tool_call>"
    line = "" if isinstance(chat, LagunaFormat) and chat.version == "v8" else "\n"
    body = "".join(
        f"<arg_key>{key}</arg_key>{line}<arg_value>"
        f"{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        f"</arg_value>{line}"
        for key, value in ordered.items()
    )
    return f"<tool_call>mix{line}{body}</tool_call>"


@pytest.mark.slow
@pytest.mark.parametrize(
    "chat", [LagunaFormat("v4"), LagunaFormat("v8"), ChatMLFormat()], ids=["v4", "v8", "chatml"]
)
@settings(deadline=None, max_examples=50)
@given(made=arguments)
def test_what_the_grammar_allows_comes_back_from_the_parser(
    chat: ChatFormat, made: dict[str, Any]
) -> None:
    reply = write(chat, made)
    grammar = chat.grammar([TOOL], REQUIRED)
    assert grammar is not None
    assert verdict(vocabulary_of(tiny_laguna()), grammar, reply) == "complete"
    parser = chat.parser([TOOL], REQUIRED)
    parser.feed(reply)
    parsed = parser.finish()[1]
    assert parsed.error is None
    assert [call.arguments for call in parsed.tool_calls] == [made]


@pytest.mark.parametrize("chat", [LagunaFormat(), ChatMLFormat()], ids=["laguna", "chatml"])
def test_the_built_in_tools_have_grammars_that_llama_cpp_takes(chat: ChatFormat) -> None:
    specs = [ToolSpec.model_validate(declaration(tool)) for tool in builtin_tools().values()]
    assert {"read", "edit", "write", "search", "shell", "done"} <= {spec.name for spec in specs}
    grammar = chat.grammar(specs, REQUIRED)
    assert grammar is not None
    assert verdict(vocabulary_of(tiny_laguna()), grammar, "Let me see.") == "partial"
    assert len(grammar.gbnf) < 60_000
    assert re.search(r"^root ::= ", grammar.gbnf)
