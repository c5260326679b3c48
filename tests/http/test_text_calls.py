"""Calls that a server leaves in the text of a reply, in the forms of many models."""

from __future__ import annotations

import json

import pytest

from laguna_agent.events import Reply, ToolCallDelta
from laguna_agent.models.conversation import GenerateOptions, ToolSpec
from laguna_agent.models.servers.http_reply import ReplyBuilder

TOOLS = [
    ToolSpec(
        name="read",
        description="Read.",
        parameters={
            "type": "object",
            "properties": {"path": {"type": "string"}, "lines": {"type": "integer"}},
        },
    ),
    ToolSpec(
        name="shell",
        description="Run.",
        parameters={"type": "object", "properties": {"command": {"type": "string"}}},
    ),
]
JSON_CALL = '{"name": "read", "arguments": {"path": "a.py", "lines": 3}}'
MARKER = '{"name": "shell", "arguments": {"command": "touch marker"}}'
CALL = [("read", {"path": "a.py", "lines": 3})]


def reply(
    text: str,
    *,
    native: bool | None = None,
    reasoning: str = "",
    calls: list[dict[str, object]] | None = None,
    required: bool = False,
    step: int = 7,
) -> Reply:
    """The reply of a stream whose text comes in pieces of `step` characters."""
    options = GenerateOptions(tool_choice="required" if required else "auto")
    builder = ReplyBuilder(TOOLS, options, native=native)
    shown = []
    deltas: list[dict[str, object]] = [{"reasoning_content": reasoning}] if reasoning else []
    deltas += [{"content": text[at : at + step]} for at in range(0, len(text), step)]
    if calls:
        deltas.append({"tool_calls": calls})
    for delta in deltas:
        shown += builder.take({"choices": [{"delta": delta}]})
    builder.take({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    shown += builder.end()
    made = builder.reply(options)
    if not made.tool_calls and not made.thinking:  # nothing of an answer is lost on the way
        said = "".join(e.text for e in shown if not isinstance(e, ToolCallDelta))
        assert said.strip() == text.strip()
    return made


def made(text: str, **given: object) -> list[tuple[str, dict[str, object]]]:
    calls = reply(text, **given).tool_calls  # type: ignore[arg-type]
    assert len({call.id for call in calls}) == len(calls)
    assert all(json.loads(call.raw) == call.arguments for call in calls)
    return [(call.name, call.arguments) for call in calls]


QWEN = "<function=read>\n<parameter=path>\na.py\n</parameter>\n<parameter=lines>\n3\n</parameter>\n"
DSML = "｜DSML｜"
FORMS = {
    "qwen": f"<tool_call>\n{QWEN}</function>\n</tool_call>",
    "qwen_bare": f"{QWEN}</function>",
    "qwen_unopened": f"{QWEN}</function>\n</tool_call>",
    "qwen_unclosed": f"<tool_call>\n{QWEN}</function>",
    "hermes": f"<tool_call>\n{JSON_CALL}\n</tool_call>",
    "hermes_unclosed": f"<tool_call>\n{JSON_CALL}",
    "hermes_list": f"<tool_call>[{JSON_CALL}]</tool_call>",
    "qwen2.5_coder": f"<tools>\n{JSON_CALL}\n</tools>",
    "function_call": f"<function_call>{JSON_CALL}</function_call>",
    "glm": "<tool_call>read\n<arg_key>path</arg_key>\n<arg_value>a.py</arg_value>\n"
    "<arg_key>lines</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
    "glm_one_line": "<tool_call>read<arg_key>path</arg_key><arg_value>a.py</arg_value>"
    "<arg_key>lines</arg_key><arg_value>3</arg_value></tool_call>",
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.read:0"
    '<|tool_call_argument_begin|>{"path": "a.py", "lines": 3}<|tool_call_end|>'
    "<|tool_calls_section_end|>",
    "deepseek_v3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>read\n"
    '```json\n{"path": "a.py", "lines": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseek_v3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>read<｜tool▁sep｜>"
    '{"path": "a.py", "lines": 3}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseek_v3.2": f'<{DSML}tool_calls>\n<{DSML}invoke name="read">\n<{DSML}parameter name="path"'
    f' string="true">a.py</{DSML}parameter>\n<{DSML}parameter name="lines" string="false">3'
    f"</{DSML}parameter>\n</{DSML}invoke>\n</{DSML}tool_calls>",
    "minimax": '<minimax:tool_call>\n<invoke name="read">\n<parameter name="path">a.py</parameter>'
    '\n<parameter name="lines">3</parameter>\n</invoke>\n</minimax:tool_call>',
    "mistral": f"[TOOL_CALLS][{JSON_CALL}]",
    "mistral_args": '[TOOL_CALLS]read[ARGS]{"path": "a.py", "lines": 3}',
    "mistral_id": '[TOOL_CALLS]read[CALL_ID]abc123def[ARGS]{"path": "a.py", "lines": 3}',
    "mistral_bare": '[TOOL_CALLS]read{"path": "a.py", "lines": 3}',
    "gpt_oss": "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary "
    'to=functions.read <|constrain|>json<|message|>{"path": "a.py", "lines": 3}<|call|>',
    "gpt_oss_stripped": 'commentary to=functions.read json{"path": "a.py", "lines": 3}',
    "gpt_oss_recipient": "<|start|>assistant to=functions.read<|channel|>commentary json<|message|>"
    '{"path": "a.py", "lines": 3}<|call|>',
    "llama": '<function=read>{"path": "a.py", "lines": 3}</function>',
    "python_tag": f"<|python_tag|>{JSON_CALL}",
    "granite": f"<|tool_call|>[{JSON_CALL}]",
    "lfm2": '<|tool_call_start|>[read(path="a.py", lines=3)]<|tool_call_end|>',
    "lfm2_json": f"<|tool_call_start|>[{JSON_CALL}]<|tool_call_end|>",
    "llama4": "<|python_start|>[read(path='a.py', lines=3)]<|python_end|>",
    "olmo3": '<function_calls>\nread(path="a.py", lines=3)\n</function_calls>',
    "cohere": '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "read", "parameters": '
    '{"path": "a.py", "lines": 3}}\n]<|END_ACTION|>',
    "nemotron": f"<TOOLCALL>[{JSON_CALL}]</TOOLCALL>",
    "apriel": f"<tool_calls>[{JSON_CALL}]</tool_calls>",
    "apertus": '<|tools_prefix|>[{"read": {"path": "a.py", "lines": 3}}]<|tools_suffix|>',
    "firefunction": f" functools[{JSON_CALL}]",
    "functionary": '>>>read\n{"path": "a.py", "lines": 3}',
    "internlm": '<|action_start|><|plugin|>\n{"name": "read", "parameters": {"path": "a.py", '
    '"lines": 3}}<|action_end|>',
    "gemma4": '<|tool_call>call:read{lines:3,path:<|"|>a.py<|"|>}<tool_call|>',
    "heading": f"### {JSON_CALL}",
    "gigachat": f"<|function_call|>{JSON_CALL}",
    "gigachat3": f"function call<|role_sep|>\n{JSON_CALL}",
    "solar": '<|tool_calls|><|tool_call:begin|>c1<|tool_call:name|>read<|tool_call:args|>{"path": '
    '"a.py", "lines": 3}<|tool_call:end|>',
    "minicpm": '<function name="read"><param name="path"><![CDATA[a.py]]></param>'
    '<param name="lines">3</param></function>',
    "hunyuan": "<tool_calls:opensource>\n<tool_call:opensource>read<tool_sep:opensource>\n"
    "<arg_key:opensource>path</arg_key:opensource>\n<arg_value:opensource>a.py"
    "</arg_value:opensource>\n<arg_key:opensource>lines</arg_key:opensource>\n"
    "<arg_value:opensource>3</arg_value:opensource>\n</tool_call:opensource>\n"
    "</tool_calls:opensource>",
    "step3": '<steptml:invoke name="read"><steptml:parameter name="path">a.py</steptml:parameter>'
    '<steptml:parameter name="lines">3</steptml:parameter></steptml:invoke>',
    "minimax_m3": ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="read">]<]minimax[>[<path>'
    "a.py]<]minimax[>[</path>]<]minimax[>[<lines>3]<]minimax[>[</lines>]<]minimax[>[</invoke>\n"
    "]<]minimax[>[</tool_call>",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_call_in_the_text_is_read(form: str) -> None:
    for native in (None, False, True):
        assert made(FORMS[form], native=native) == CALL
        before = reply(f"I read it first.\n{FORMS[form]}", native=native)
        assert [(c.name, c.arguments) for c in before.tool_calls] == CALL
        assert before.text == "I read it first."
    for step in (1, 2, 3, 500):  # the stream may cut it anywhere
        assert made(f"Hm.\n{FORMS[form]}", step=step) == CALL
    again = FORMS[form].replace("a.py", "b.py")
    first, second = made(f"{FORMS[form]}\n{again}")
    assert (first[1]["path"], second[1]["path"]) == ("a.py", "b.py")
    # Beside a native call it is only text.
    function = {"name": "read", "arguments": '{"path": "native"}'}
    calls: list[dict[str, object]] = [{"index": 0, "id": "1", "function": function}]
    found = reply(FORMS[form], calls=calls)
    assert [call.arguments for call in found.tool_calls] == [{"path": "native"}]


QUOTES = [
    "Write it so:\n```\n{}\n```\nThen it runs.",
    "Write `{}` there.",
    "Write it so:\n\n~~~xml\n{}\n~~~\nThen it runs.",
    "~~~\n{}",
    "They wrote:\n> {}\n\nThat is a call.",
    "> They wrote:\n> {}\n",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_quoted_call_is_only_shown(form: str) -> None:
    for quote in QUOTES:
        text = quote.replace("{}", FORMS[form].replace("\n", " ").replace("```", "'''"))
        assert made(text) == []


@pytest.mark.parametrize(
    "text",
    [
        '### {"name": "unknown", "arguments": {}}',
        '### {"title": "read", "arguments": {}}',
        'Write ### {"name": "read", "arguments": {}} to read.',
        '#### {"name": "read", "arguments": {}}',
        "### read\n\nIt reads a file.",
    ],
)
def test_a_heading_is_not_a_call(text: str) -> None:
    for native in (None, True):
        assert made(text, native=native) == []


def test_marks_around_a_call_are_not_shown() -> None:
    hermes = '{"name": "read", "arguments": {"path": "a.py"}}'
    qwen = "<function=read>\n<parameter=path>\na.py\n</parameter>\n</function>"
    for text in (
        f"<|tool_call|>[{hermes}]<|/tool_call|>",
        f"<seed:tool_call>\n{qwen}\n</seed:tool_call>",
    ):
        assert made(text) == [("read", {"path": "a.py"})]
        assert reply(text).text == ""


@pytest.mark.parametrize("form", ["qwen", "hermes", "glm"])
def test_a_call_in_an_unfinished_thought_is_read(form: str) -> None:
    assert made(f"<think>I must look.\n{FORMS[form]}") == CALL
    found = reply("", reasoning=f"I must look.\n{FORMS[form]}")
    assert [(c.name, c.arguments) for c in found.tool_calls] == CALL
    assert found.thinking == "I must look."


def test_values_keep_what_looks_like_markup() -> None:
    text = (
        "<function=shell>\n<parameter=command>\ncat <<'E'\n`x` </b>\n```\n{1}\nE\n</parameter>\n"
        "</function>"
    )
    assert made(text) == [("shell", {"command": "cat <<'E'\n`x` </b>\n```\n{1}\nE"})]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('<tool_call>\n{"name": "read", \'path\'}\n</tool_call>', ""),
        ("<function=read>\n<parameter=lines>\nmany\n</parameter>\n</function>", "`lines` must be"),
        ("<function=read>\n<parameter=path>\na", "cut off"),
        ('[TOOL_CALLS]read[ARGS]{"path": "a', "cut off"),
        ('<invoke name="read"><parameter name="path">a', "</invoke>"),
    ],
)
def test_the_model_is_told_of_a_malformed_call_beside_a_good_one(text: str, named: str) -> None:
    alone = reply(text)
    assert alone.tool_calls == []
    assert named in (alone.error or "")
    both = reply(f"{FORMS['qwen']}\n{text}")
    assert [(c.name, c.arguments) for c in both.tool_calls] == CALL
    assert named in (both.error or "")


PYTHON = '[read(path="a.py", lines=3)]'


@pytest.mark.parametrize(
    "text",
    [
        PYTHON,
        'I look.\n[read("a.py", 3)]',
        f"```tool_code\n{PYTHON[1:-1]}\n```",
        f"```\n{PYTHON}\n```",
    ],
)
def test_a_list_in_python_is_a_call_where_json_would_be_one(text: str) -> None:
    alone = not text.startswith("I look.")
    assert made(text, native=False) == CALL
    assert made(text) == (CALL if alone else [])
    assert made(text, native=True) == []
    assert made(text.replace("read", "unknown"), native=False) == []


@pytest.mark.parametrize(
    "text",
    [
        "Use [read] here: x[0]",
        "[read(path='a.py')] reads it.",
        "The list is [1, 2]",
        "```python\nread('a.py')\n```",
        "[read(path=open('x').read())]",
        "[[read(path='a')] for x in y]",
        ">>> read\n{}",
        ">>>other\n{1}",
        "f = functools\n[{x}]",
        f"[{'(' * 300}",
    ],
)
def test_python_that_is_no_call_of_a_tool_is_only_shown(text: str) -> None:
    found = reply(text)
    assert (found.tool_calls, found.text, found.error) == ([], text, None)


def test_values_of_other_forms_are_plain_data() -> None:
    text = "<|tool_call_start|>[shell(command='a\\n\\'b\\''), read(**{'path': 'x'}, lines=-1)]"
    assert made(text) == [
        ("shell", {"command": "a\n'b'"}),
        ("read", {"path": "x", "lines": -1}),
    ]
    gemma = '<|tool_call>call:shell{command:<|"|>echo "{a:1,b}" | x<|"|>}<tool_call|>'
    assert made(gemma) == [("shell", {"command": 'echo "{a:1,b}" | x'})]
    for bad in (
        "<|tool_call_start|>[shell(command=open('x'))]<|tool_call_end|>",
        "<|tool_call_start|>[shell(command=1 for x in y",
        '<|tool_call>call:shell{command:<|"|>echo',
    ):
        found = reply(bad)
        assert found.tool_calls == []
        assert "could not be read" in (found.error or "")


# --- JSON that may be an example --------------------------------------------------------------

FENCED = f"```json\n{MARKER}\n```"


@pytest.mark.parametrize(
    "text",
    [
        f"You call the shell like this:\n{FENCED}\nThat is all.",
        f"You call the shell like this:\n{FENCED}",
        f"Like this:\n{MARKER}",
        f"{MARKER}\nruns a command.",
        f"Like this:\n<pre>\n{MARKER}\n</pre>",
        f"- one\n- two\n\n{FENCED}\n\n{FENCED}",
    ],
)
@pytest.mark.parametrize("native", [None, True])
def test_a_call_that_is_shown_while_explaining_is_not_made(text: str, native: bool | None) -> None:
    found = reply(text, native=native)
    assert found.tool_calls == []
    assert found.text == text
    assert found.error is None


@pytest.mark.parametrize("text", [FENCED, MARKER, f"[{MARKER}]", f"```\n{MARKER}\n```"])
def test_a_reply_of_nothing_but_json_is_a_call_unless_the_server_has_native_ones(text: str) -> None:
    assert made(text) == [("shell", {"command": "touch marker"})]
    assert made(text, native=True) == []


@pytest.mark.parametrize("text", [f"I do it now.\n{FENCED}", f"I do it now.\n{MARKER}"])
def test_json_at_the_end_is_a_call_where_there_is_no_other_way(text: str) -> None:
    assert made(text, native=False) == [("shell", {"command": "touch marker"})]
    assert made(text, required=True) == [("shell", {"command": "touch marker"})]
    assert made(text.replace("shell", "unknown"), native=False) == []


HARMONY = (
    "<|channel|>analysis<|message|>Let me.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Four.<|return|>"
)


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("Let me think.\n</think>\n\nFour.", "Let me think.", "Four."),
        ("<think>Let me.</think>Four.", "Let me.", "Four."),
        (HARMONY, "Let me.", "Four."),
        ("It ends with `</think>` always.", "", "It ends with `</think>` always."),
    ],
)  # fmt: skip
def test_thoughts_in_the_text_are_thoughts(text: str, thinking: str, answer: str) -> None:
    found = reply(text)
    assert (found.thinking, found.text) == (thinking, answer)


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "Let me.", "content": "Four."},
        {"reasoning": "Let me.", "content": "Four."},
        {"reasoning": "Let me.", "reasoning_content": "Let me.", "content": "Four."},
        {"thinking": "Let me.", "content": [{"type": "text", "text": "Four."}]},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Let me."}]},
                {"type": "text", "text": "Four."},
            ]
        },
    ],
)
def test_thoughts_are_read_from_every_field(delta: dict[str, object]) -> None:
    builder = ReplyBuilder(TOOLS, GenerateOptions())
    builder.take({"choices": [{"delta": delta, "finish_reason": "stop"}]})
    builder.end()
    found = builder.reply(GenerateOptions())
    assert (found.thinking, found.text) == ("Let me.", "Four.")
