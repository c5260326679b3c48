"""How one tool is called in the fenced format: what goes on its line, and what in its fence.

Required arguments are written and optional ones left out: a small model does better with few. One
argument goes on the line as plain text, several as a JSON object; a text (`content`, `text`,
`body`, `code`) goes in the fence, and `old` and `new` in one each. A tool without required
arguments takes its first one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laguna_agent.models.chat.call_parsers import decode
from laguna_agent.models.chat.gbnf import Gbnf, char_class, choice, literal
from laguna_agent.models.chat.schema import JsonValues, properties_of, types_of
from laguna_agent.models.conversation import ToolSpec

MARK = "### "
FENCE = "```"
BODIES = (("content",), ("text",), ("body",), ("code",), ("old", "new"))
"""Arguments that go in fences: the first of these that a tool requires."""
LINE_LIMIT = 1_000
"""Characters of a text on the line."""
_CONTROLS = r"\n\x00-\x08\x0B-\x1F\x7F"


@dataclass(frozen=True)
class Form:
    """How one tool is called."""

    tool: ToolSpec
    line: tuple[str, ...]
    """Arguments on the line."""
    bodies: tuple[str, ...] = ()
    """Arguments in fences, one after the other."""
    optional: bool = False
    """The argument on the line may be left out."""

    @staticmethod
    def of(tool: ToolSpec) -> Form:
        """The form that a tool's schema gives."""
        properties = properties_of(tool.parameters)
        required = [name for name, _, needed in properties if needed]
        form = Form(tool, ())
        bodies = next(
            (names for names in BODIES if all(n in required and form.is_text(n) for n in names)), ()
        )
        line = tuple(name for name in required if name not in bodies)
        if not required and properties:
            return Form(tool, (properties[0][0],), optional=True)
        return Form(tool, line, bodies)

    # --- the declaration --------------------------------------------------------------------

    def usage(self) -> str:
        """An example call with placeholders."""
        if len(self.line) > 1:
            pairs = (f'"{name}": {self._placeholder(name)}' for name in self.line)
            argument = f" {{{', '.join(pairs)}}}"
        else:
            argument = "".join(f" {name.upper()}" for name in self.line)
        fences = "".join(f"\n{FENCE}\n{body.upper()}\n{FENCE}" for body in self.bodies)
        return f"{MARK}{self.tool.name}{argument}{fences}"

    def written(self, arguments: Mapping[str, Any]) -> str:
        """A call with these arguments, as far as the form has them."""
        given = {name: arguments[name] for name in self.line if name in arguments}
        argument = ""
        if len(self.line) > 1:
            argument = f" {json.dumps(given, ensure_ascii=False)}"
        elif given:
            plain = _spell(next(iter(given.values())))
            # A text of several lines fits on this one as JSON alone.
            argument = json.dumps(given, ensure_ascii=False) if plain[:1] == '"' else plain
            argument = f" {argument}"
        text = f"{MARK}{self.tool.name}{argument}"
        return text + "".join(f"\n{_fenced(str(arguments.get(body, '')))}" for body in self.bodies)

    def declaration(self) -> str:
        """The text that declares the tool to the model."""
        notes = [self._note(name) for name in (*self.line, *self.bodies)]
        return "\n".join([self.usage(), self.tool.description, *filter(None, notes)])

    def is_text(self, name: str) -> bool:
        """Whether an argument is free text."""
        schema = self._schema(name)
        allowed = self._values(Gbnf()).allowed_values(schema)
        return allowed is None and "string" in types_of(schema, self.tool.parameters)

    def _placeholder(self, name: str) -> str:
        return json.dumps(name.upper()) if self.is_text(name) else name.upper()

    def _note(self, name: str) -> str:
        """What an argument may be, where its name does not tell."""
        schema = self._schema(name)
        allowed = self._values(Gbnf()).allowed_values(schema)
        kinds = types_of(schema, self.tool.parameters)
        what = ""
        if allowed is not None:
            what = f"one of {', '.join(_spell(value) for value in allowed)}"
        elif kinds == {"integer"}:
            low, high = schema.get("minimum"), schema.get("maximum")
            bounds = [f"from {low:g}"] if low is not None else []
            bounds += [f"to {high:g}"] if high is not None else []
            what = " ".join(["a whole number", *bounds])
        elif kinds <= {"integer", "number"}:
            what = "a number"
        elif kinds == {"boolean"}:
            what = "true or false"
        doc = str(schema.get("description", "")).strip()
        note = ", ".join(filter(None, [doc, what, "may be left out" if self.optional else ""]))
        return f"{name.upper()}: {note}" if note else ""

    # --- the grammar ------------------------------------------------------------------------

    def expression(self, grammar: Gbnf) -> str:
        """What may follow the tool's name on the line."""
        if not self.line:
            return ""
        values = self._values(grammar)
        if len(self.line) == 1:
            value = self._alone(values, self.line[0])
            return f'(" " {value})?' if self.optional else f'" " {value}'
        parts = []
        for number, name in enumerate(self.line):
            parts.append(literal(f"{', ' if number else ' {'}{json.dumps(name)}: "))
            schema = self._schema(name)
            # A small model copies the placeholder.
            parts.append(
                values.text_other_than(schema, name.upper())
                if self.is_text(name)
                else values.value(schema)
            )
        return " ".join([*parts, literal("}")])

    def _alone(self, values: JsonValues, name: str) -> str:
        schema = self._schema(name)
        allowed = values.allowed_values(schema)
        if allowed is not None:
            return choice([literal(_spell(value)) for value in allowed])
        if self.is_text(name):
            _, high = values.string_bounds(schema)
            # Small models write out the whole path of the workspace.
            without = '/"' if name == "path" and self.bodies else ""
            return _text(values.grammar, name.upper(), high or LINE_LIMIT, without)
        return values.value(schema)

    # --- parsing ----------------------------------------------------------------------------

    def read(self, text: str) -> dict[str, Any]:
        """The arguments on the line. Raises ValueError with what is wrong."""
        text = text.strip()
        if not self.line or (self.optional and not text):
            return {}
        if text.startswith("{"):
            try:
                found = json.loads(text)
            except ValueError:
                found = None
            if isinstance(found, dict) and (len(self.line) > 1 or set(found) == set(self.line)):
                return found
        if len(self.line) != 1:
            raise ValueError("its arguments are one JSON object on the line")
        name = self.line[0]
        return {name: self._value(name, text)}

    def _value(self, name: str, text: str) -> Any:
        if len(text) > 1 and text[0] == text[-1] == "`":
            text = text[1:-1]
        schema = self._schema(name)
        for value in self._values(Gbnf()).allowed_values(schema) or ():
            if _spell(value) == text:
                return value
        try:
            return decode(text, schema, self.tool.parameters)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None

    # --- inside -----------------------------------------------------------------------------

    def _schema(self, name: str) -> Mapping[str, Any]:
        return next(s for n, s, _ in properties_of(self.tool.parameters) if n == name)

    def _values(self, grammar: Gbnf) -> JsonValues:
        return JsonValues(grammar, self.tool.parameters, limit=LINE_LIMIT, one_line=True)


def _fenced(text: str) -> str:
    fence = FENCE
    while fence in text:
        fence += "`"
    end = "" if not text or text.endswith("\n") else "\n"
    return f"{fence}\n{text}{end}{fence}"


def _spell(value: Any) -> str:
    """A value that the schema lists, as it is written on the line."""
    plain = isinstance(value, str) and value == value.strip() and value and value.isprintable()
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def _text(grammar: Gbnf, placeholder: str, limit: int, without: str = "") -> str:
    """A text of one line other than the placeholder, which small models copy, that begins with none
    of the characters `without`."""

    def body() -> str:
        rest = grammar.repeat(f"[^{_CONTROLS}]", 0, limit - 1)
        alternatives = []
        for size, character in enumerate(placeholder):
            taken = char_class({character})[1:-1] + _CONTROLS + ("" if size else f" \\t{without}")
            before = f"{literal(placeholder[:size])} " if size else ""
            alternatives.append(f"{before}[^{taken}] {rest}")
            if size:
                alternatives.append(before)
        return " | ".join(alternatives)

    return grammar.rule(("line", placeholder, limit, without), "line", body)
