"""The format for small models: one line that names the call, and code in a fence.

A reply is a few sentences, then `### tool argument`, and for a tool that takes a text, the text in
a fence, verbatim. Small models write code far better than they write code inside JSON. Turns are
ChatML's. `fenced_calls` says how each tool is called.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from laguna_agent.events import (
    FinishReason,
    Reply,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from laguna_agent.models.chat.chat_format import Grammar, Parsed, ParserEvent, ReplyParser, Segment
from laguna_agent.models.chat.chatml import ChatMLTurns
from laguna_agent.models.chat.fenced_calls import FENCE, MARK, Form
from laguna_agent.models.chat.gbnf import Gbnf, choice, literal
from laguna_agent.models.chat.grammar import offered
from laguna_agent.models.chat.parsing import new_call_id
from laguna_agent.models.conversation import Completed, GenerateOptions, Message, ToolSpec

THOUGHT_LINES = 6
"""Lines of prose before a call."""
THOUGHT_CHARS = 600
"""Characters of one of them: some models repeat a sentence without end."""
BRIEF = (1, 160)
"""Both where a thought is to be brief."""
MOST_LINES = 200
"""Lines of a file up to which the grammar holds the old text of an edit to them."""
MOST_TEXT = 100_000
"""Characters of all files up to which it does: it is read anew for each reply."""
_DEFINES = (
    '"def " | "async def " | "class " | "@" | "import " | "from " | "if __name__" '
    '| [A-Z_] [A-Z0-9_]* (": " | " = ") | [)\\]}]'
)
"""How lines of Python begin that define something, or end what does."""
_FENCE_LINE = re.compile(r"(`{3,})([\w+.#-]*)\s*$")


class FencedFormat:
    """Calls as `### tool argument` and fenced text, between ChatML turn markers."""

    name = "fenced"
    template_notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.turns = ChatMLTurns(wrap_tool_results=False)

    def render_start(self, system: str, tools: Sequence[ToolSpec]) -> list[Segment]:
        """See ChatFormat."""
        return self.turns.system(self.system_text(system, tools))

    def render_messages(self, messages: Sequence[Message], *, after_reply: bool) -> list[Segment]:
        """See ChatFormat."""
        return self.turns.messages(self.in_turns(messages), after_reply=after_reply)

    def render_generation(self, options: GenerateOptions) -> list[Segment]:
        """See ChatFormat."""
        return self.turns.generation()

    def render_close(self, reason: FinishReason) -> list[Segment]:
        """See ChatFormat."""
        return self.turns.close()

    def grammar(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> Grammar | None:
        """See ChatFormat. Thoughts come first, as the model likes; then one call, whose line is
        held to the types of its arguments and whose text to a fence."""
        if options.grammar is not None:
            return Grammar(options.grammar)
        forms = [Form.of(tool) for tool in offered(tools, options)]
        if options.tool_choice == "none" or not forms:
            return None
        grammar = Gbnf()
        calls = [_call(grammar, form, options) for form in forms]
        # No turn marker: a model that has lost the thread writes them without end.
        _rule(grammar, "tchar", '[^\\n<] | "<" [^|\\n]')
        first = '([^\\n#`<] | "<" [^|\\n])'
        lines, length = BRIEF if options.brief else (THOUGHT_LINES, THOUGHT_CHARS)
        _rule(grammar, "tline", f"{first} {grammar.repeat('tchar', 0, length)}")
        _rule(grammar, "newlines", '"\\n" "\\n"?')
        _rule(grammar, "thought", f"(tline newlines){{0,{lines}}}")
        root = f"thought {choice(calls)}"
        if options.tool_choice == "auto":
            _rule(grammar, "prose", '(tline "\\n"?)+')
            root = f"({root} | prose)"
        return Grammar(grammar.source(root))

    def parser(self, tools: Sequence[ToolSpec], options: GenerateOptions) -> ReplyParser:
        """See ChatFormat."""
        return FencedParser(tools)

    def stops(self) -> tuple[str, ...]:
        """See ChatFormat."""
        return ()

    def think_close(self) -> list[Segment]:
        """See ChatFormat."""
        return []

    # --- the content of turns, which servers put between the markers of their model -------------

    @staticmethod
    def system_text(system: str, tools: Sequence[ToolSpec]) -> str:
        """The system prompt, with the tools and how each is called."""
        text = system.rstrip()
        if tools:
            text += "\n\nTools, one in each reply, written exactly so:\n"
            text += "".join(f"\n{Form.of(tool).declaration()}\n" for tool in tools)
        return text.rstrip()

    @staticmethod
    def in_turns(messages: Sequence[Message]) -> list[Message]:
        """The messages as turns, results as the user's. Messages appended together are one user
        turn: small models lose the thread between several."""
        merged: list[Message] = []
        for message in messages:
            role = "user" if message.role == "tool" else message.role
            content = message.content
            if message.role == "tool" and not content.strip():
                content = "(nothing)"
            if merged and merged[-1].role == role:
                content = f"{merged[-1].content}\n\n{content}"
                merged[-1] = Message(role=role, content=content)
            else:
                merged.append(Message(role=role, content=content))
        return merged

    @staticmethod
    def reply_text(reply: Reply, tools: Sequence[ToolSpec]) -> str:
        """A reply of an earlier epoch as text; calls made in another format in this one."""
        known = {tool.name: tool for tool in tools}
        parts = [reply.text]
        for call in reply.tool_calls:
            if call.raw.startswith(MARK) or call.name not in known:
                parts.append(call.raw)
            else:
                parts.append(Form.of(known[call.name]).written(call.arguments))
        return "\n\n".join(part.rstrip() for part in parts if part.strip())


def code_grammar(begins: str, *, only_defines: bool) -> str:
    """A grammar for code in a fence that begins with a text, the line of the fence included. With
    `only_defines` it goes on as Python that only defines things."""
    grammar = Gbnf()
    _fence(grammar, "", only_defines=only_defines)
    # Where no line break may follow, a small model does not close the fence.
    return grammar.source(f'{literal(begins)} code {literal(FENCE)} "\\n"?')


def code_in(answer: Completed) -> str | None:
    """The code in the fence that is all of an answer; None where it was cut."""
    code, closed, _ = answer.text.partition("\n")[2].rpartition(f"\n{FENCE}")
    return f"{code}\n" if closed and answer.finish_reason == "stop" else None


class FencedParser:
    """Parses a reply line by line; a line is only parsed when it is whole."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        self._forms = {tool.name: Form.of(tool) for tool in tools}
        self._pending = ""
        self._text: list[str] = []
        self._held_newlines = ""
        self._calls: list[ToolCall] = []
        self._errors: list[str] = []
        self._form: Form | None = None
        self._id = ""
        self._argument = ""
        self._raw: list[str] = []
        self._bodies: list[str] = []
        """The texts of the fences that are closed."""
        self._body: list[str] | None = None
        self._fence = ""
        self._shown = 0
        self._emitted_name = False

    @property
    def complete(self) -> bool:
        """Always False: the end is the model's end token, or the grammar's."""
        return False

    def feed(self, text: str) -> list[ParserEvent]:
        """See ReplyParser."""
        events: list[ParserEvent] = []
        self._pending += text
        while "\n" in self._pending:
            line, self._pending = self._pending.split("\n", 1)
            self._line(line, "\n", events)
        if self._pending and self._form is None and not self._may_be_mark(self._pending):
            # Prose is streamed; a whole line is only needed where a call may begin.
            self._say(self._pending[self._shown :], events)
            self._shown = len(self._pending)
        return events

    def finish(self) -> tuple[list[ParserEvent], Parsed]:
        """See ReplyParser."""
        events: list[ParserEvent] = []
        if self._pending:
            line, self._pending = self._pending, ""
            self._line(line, "", events)
        if self._form is not None:
            self._end_call()
        text = "".join(self._text).strip()
        error = self._errors[0] if self._errors and not self._calls else None
        return events, Parsed(text=text, tool_calls=self._calls, error=error)

    def _may_be_mark(self, line: str) -> bool:
        return MARK.startswith(line) or line.startswith(MARK)

    def _say(self, text: str, events: list[ParserEvent]) -> None:
        if text:
            self._text.append(text)
            events.append(TextDelta(text=text))

    def _line(self, line: str, end: str, events: list[ParserEvent]) -> None:
        shown, self._shown = self._shown, 0
        if self._body is not None:
            self._raw.append(line + end)
            if line.rstrip() == self._fence:
                self._delta(line + end, events)
                self._bodies.append("".join(self._body))
                self._body = None
                if self._form is None or len(self._bodies) == len(self._form.bodies):
                    self._end_call()
                return
            self._body.append(line + end)
            self._delta(line + end, events)
            return
        if self._form is not None and (match := _FENCE_LINE.fullmatch(line)):
            self._fence, self._body = match.group(1), []
            self._raw.append(line + end)
            self._delta(line + end, events)
            return
        form = self._form_of(line)
        if form is None and self._form is not None and not line.strip():
            self._raw.append(line + end)
            return
        if self._form is not None:
            self._end_call()
        if form is not None:
            self._begin(form, line, end, events)
        else:
            self._say(line[shown:] + end, events)

    def _form_of(self, line: str) -> Form | None:
        if not line.startswith(MARK):
            return None
        return self._forms.get(line[len(MARK) :].split(" ", 1)[0].strip())

    def _begin(self, form: Form, line: str, end: str, events: list[ParserEvent]) -> None:
        self._form, self._id = form, new_call_id()
        self._argument = line[len(MARK) + len(form.tool.name) :].strip()
        self._raw, self._bodies, self._emitted_name = [line + end], [], False
        self._delta(line + end, events)
        if not form.bodies:
            self._end_call()

    def _delta(self, text: str, events: list[ParserEvent]) -> None:
        name = None if self._emitted_name or self._form is None else self._form.tool.name
        self._emitted_name = True
        events.append(ToolCallDelta(id=self._id, name=name, text=text))

    def _end_call(self) -> None:
        form, unclosed = self._form, self._body is not None
        self._form = self._body = None
        if form is None:
            return
        if len(self._bodies) < len(form.bodies):
            what = "the closing fence is missing" if unclosed else "its fence is missing"
            if self._bodies and not unclosed:
                what = f"the fence with {form.bodies[len(self._bodies)]} is missing"
            self._errors.append(f"{form.tool.name}: {what}. Write it as:\n{form.usage()}")
            return
        try:
            arguments = form.read(self._argument)
        except ValueError as error:
            self._errors.append(f"{form.tool.name}: {error}. Write it as:\n{form.usage()}")
            return
        arguments |= dict(zip(form.bodies, self._bodies, strict=True))
        done = self._forms.get("done")
        if done is not None and arguments == {"command": "done"}:
            form, arguments = done, dict.fromkeys(done.line, "")  # it is no command
        self._calls.append(
            ToolCall(id=self._id, name=form.tool.name, arguments=arguments, raw="".join(self._raw))
        )


def _call(grammar: Gbnf, form: Form, options: GenerateOptions) -> str:
    head = literal(MARK + form.tool.name)
    # Where no line break may end the line, a small model goes on with its number.
    end = '"\\n"?'
    given = options.files.get(form.tool.name, {})
    files = {path: text for path, text in given.items() if "\n" not in path}
    room = MOST_TEXT
    if form.line == ("path",) and files:
        lines = '(":" [1-9] [0-9]{0,5} ("-" [1-9] [0-9]{0,5})?)?'
        ways = []
        for path, text in files.items():
            known = text if len(text) <= room else ""
            room -= len(known)
            ways.append(f'" " {literal(path)} {_fences(grammar, form, path, known) or lines}')
        return f"({head} {choice(ways)} {end})"
    line = form.expression(grammar)
    return f"({' '.join(filter(None, [head, line, _fences(grammar, form), end]))})"


def _fences(grammar: Gbnf, form: Form, path: str = "", text: str = "") -> str:
    """The fences of a call. The old text of an edit is lines of the file, where that is known."""
    fences = [_fence(grammar, body.upper()) for body in form.bodies]
    if form.bodies == ("old", "new") and (lines := _lines(grammar, path, text)):
        fences[0] = f'"\\n" {literal(FENCE)} lang {lines} {literal(FENCE)}'
    return " ".join(fences)


def _lines(grammar: Gbnf, path: str, text: str) -> str | None:
    """Some lines of a file that follow each other; None where a fence cannot hold them, or where
    they are so many that the grammar would be slow."""
    lines = text.rstrip("\n").split("\n")
    if not text.strip() or len(lines) > MOST_LINES or any(FENCE in line for line in lines):
        return None
    starts, following = list[str](), ""
    for number, line in reversed(list(enumerate(lines))):
        body = " ".join(filter(None, [literal(line + "\n"), following and f"{following}?"]))
        following = grammar.rule(("line", path, number), "line", partial(str, body))
        if line.strip():
            starts.append(following)
    return choice(starts)


def _fence(grammar: Gbnf, placeholder: str, *, only_defines: bool = False) -> str:
    """A text in a fence, of which no line closes the fence, and which does not begin with the
    placeholder, which small models copy. With `only_defines` it calls nothing at its top level, as
    small models like to do to show how a function is used."""
    _rule(grammar, "lang", '[a-z0-9+]* "\\n"')
    # Not blank line after blank line: some models never stop writing them.
    _rule(grammar, "blank", '[ \\t]* "\\n"')
    _rule(grammar, "tick", '"`" "`"? ([^`\\n] [^\\n]*)?')
    _rule(grammar, "indented", "[ \\t] [ \\t]* [^ \\t\\n] [^\\n]*")
    top = f"({_DEFINES}) [^\\n]*" if only_defines else "[^ \\t\\n`] [^\\n]* | tick"
    _rule(grammar, "cline", f"indented | {top}")
    _rule(grammar, "code", '(blank? blank? blank? cline "\\n")* blank? blank?')
    if not placeholder:
        return "code"
    ways = [
        f"[^ \\t\\n`{placeholder[0]}] [^\\n]*",
        *(
            f"{literal(placeholder[:size])} ([^\\n{placeholder[size]}] [^\\n]*)?"
            for size in range(1, len(placeholder))
        ),
    ]
    first = f'(indented | tick | {" | ".join(ways)}) "\\n"'
    fence = literal(FENCE)
    body = f'"\\n" {fence} lang (blank? blank? blank? {first} code | blank? blank?) {fence}'
    return _rule(grammar, f"fence-{placeholder.lower()}", body)


def _rule(grammar: Gbnf, name: str, body: str) -> str:
    return grammar.rule(name, name, lambda: body)
