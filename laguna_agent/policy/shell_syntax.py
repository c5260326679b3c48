"""Splits a shell command into simple commands, using its tree-sitter-bash tree.

A `Script` is exact or lists why not: a word is decoded only where bash and this module cannot
disagree about it, every byte between two tokens must be blank, and node types that are not listed
here ask. Simple commands are found everywhere in the tree (in loops, functions, substitutions),
so that rules that deny apply to them too.

Over 400 lines because all decisions about what is exact belong in one place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser, Tree

_PLAIN_NODES = frozenset(
    {
        "program",
        "list",
        "pipeline",
        "command",
        "command_name",
        "negated_command",
        "subshell",
        "compound_statement",
        "redirected_statement",
        "file_redirect",
        "file_descriptor",
        "word",
        "number",
        "string",
        "string_content",
        "raw_string",
        "concatenation",
        "brace_expression",
        "test_command",
        "unary_expression",
        "binary_expression",
        "parenthesized_expression",
        "test_operator",
        "comment",
        ";",
        "&",
        "&&",
        "||",
        "|",
        "|&",
        "!",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ">",
        ">>",
        ">&",
        "&>",
        "<",
        '"',
        "\n",
        "=",
        "==",
        "!=",
        "$",
        "simple_expansion",
        "variable_name",
        "special_variable_name",
        "if_statement",
        "elif_clause",
        "else_clause",
        "if",
        "then",
        "elif",
        "else",
        "fi",
    }
)
_REASONS = {
    "expansion": "expands a variable",
    "arithmetic_expansion": "expands arithmetic",
    "command_substitution": "runs a command inside another",
    "process_substitution": "runs a command inside another",
    "variable_assignment": "sets a variable",
    "variable_assignments": "sets a variable",
    "declaration_command": "sets a variable",
    "unset_command": "changes the shell's state",
    "function_definition": "defines a function",
    "heredoc_redirect": "has a here-document",
    "herestring_redirect": "has a here-string",
    "ansi_c_string": "has a $'…' string",
    "translated_string": 'has a $"…" string',
    "for_statement": "has a loop",
    "c_style_for_statement": "has a loop",
    "while_statement": "has a loop",
    "case_statement": "has a case",
    "extglob_pattern": "has an extended pattern",
    "regex": "has a pattern test",
    "ERROR": "does not parse",
}
_UNQUOTED = re.compile(r"(?:[A-Za-z0-9_./:=@%+,\-^#~{}*?\[\]]|\\[ -~])+")
_DOUBLE = re.compile(r'"(?:[^"\\$`!]|\\[^\n!]|\$(?=["\s|)/.,:;%^&=+~>]))*"')
_SINGLE = re.compile(r"'[^']*'")
_BLANK = re.compile(rb"(?:[ \t\n]|\\\n)*")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TAKES_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")

_PLAIN_VARIABLE = re.compile(r"(?<!\\)\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\}|[0-9?$!#@*-])")

MAX_BYTES = 256 * 1024


@dataclass(frozen=True)
class Word:
    """One word. `value` is what the program receives; None if only the shell knows."""

    text: str
    value: str | None
    glob: bool = False
    """The word has a pattern, so it may expand to any number of file names."""
    plain_variables: bool = False
    """Only variables (`$NAME`) in it are unknown, and expanding them has no effect."""

    @property
    def may_be_option(self) -> bool:
        """Whether the word could expand to an option."""
        return self.value is None or (self.glob and self.text[:1] in "*?[")


@dataclass
class SimpleCommand:
    """One simple command: its words and its context."""

    words: list[Word]
    text: str
    top: bool
    """Runs in the shell itself, not in a function body or substitution."""
    start: int = 0
    """Where it begins in the command line, in bytes."""
    until: int | None = None
    """Where the pipeline or subshell of a `cd` ends, and with it the effect; None if it lasts."""
    assignments: list[str] = field(default_factory=list)

    @property
    def name(self) -> str | None:
        """The name of the program, None if it is unknown."""
        return self.words[0].value if self.words and not self.words[0].glob else None

    @property
    def values(self) -> list[str] | None:
        """All words as the program receives them, or None if one is unknown."""
        values = [word.value for word in self.words if word.value is not None and not word.glob]
        return values if len(values) == len(self.words) else None


@dataclass
class Script:
    """A parsed command line."""

    commands: list[SimpleCommand]
    problems: list[str]
    """Why it is not exact; empty for a list of pipelines of plain words."""
    writes: list[Word] = field(default_factory=list)
    """Files that output is redirected to, except /dev/null."""
    reads: list[Word] = field(default_factory=list)
    """Files that input is redirected from."""
    parsed: bool = True
    functions: list[str] = field(default_factory=list)
    """Names of the functions it defines, as written."""
    variables: list[str] = field(default_factory=list)
    """Names of the variables it sets in the shell."""
    documents: list[str] = field(default_factory=list)
    """The texts of here-documents and here-strings, as far as they are known."""
    values: dict[str, list[str]] = field(default_factory=dict)
    """Values that variables get in it, by assignment or in a loop, as far as they are known."""
    chain: bool = False
    """A list joined by `&&`: each command runs only if those before it succeeded."""

    @property
    def exact(self) -> bool:
        """Whether everything is known except the targets of redirections."""
        return not self.problems


@lru_cache(maxsize=1)
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


def bash_tree(source: bytes) -> Tree:
    """The syntax tree of a command line."""
    return _parser().parse(source)


@lru_cache(maxsize=256)
def parse(command: str) -> Script:
    """Parse a command line. The result is cached and shared: do not change it."""
    problems: list[str] = []
    try:
        source = command.encode("utf-8")
    except UnicodeEncodeError:
        return Script([], ["has bytes that are not text"], parsed=False)
    if len(source) > MAX_BYTES:
        return Script([], ["is too long to analyse"], parsed=False)
    if _CONTROL_CHARACTERS.search(command):
        problems.append("has control characters")
    tree = bash_tree(source)
    if tree.root_node.has_error:
        problems.append("does not parse")
    reader = _Reader(source, problems)
    reader.read(tree.root_node)
    return Script(
        reader.commands,
        sorted(dict.fromkeys(problems), key=lambda reason: reason.startswith("has `")),
        reader.writes,
        reader.reads,
        parsed=not tree.root_node.has_error,
        functions=reader.functions,
        variables=reader.variables,
        documents=reader.documents,
        values=reader.values,
        chain=reader.chain,
    )


class _Reader:
    """Walks one tree without recursion, so deep nesting costs nothing."""

    def __init__(self, source: bytes, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        self.commands: list[SimpleCommand] = []
        self.writes: list[Word] = []
        self.reads: list[Word] = []
        self.functions: list[str] = []
        self.variables: list[str] = []
        self.documents: list[str] = []
        self.values: dict[str, list[str]] = {}
        self.chain = True

    def read(self, root: Node) -> None:
        self.chain = sum(child.type != "comment" for child in root.named_children) == 1
        last_end = 0
        stack: list[tuple[Node, bool]] = [(root, True)]
        while stack:
            node, top = stack.pop()
            kind = node.type
            if kind in ("||", ";", "&", "(", "{", "!", "if"):
                self.chain = False
            if node.is_missing:
                self._problem("does not parse")
            if kind == "expansion" and _PLAIN_VARIABLE.fullmatch(self._text(node)):
                self._gap(last_end, node)
                last_end = max(last_end, node.end_byte)
                continue
            if kind not in _PLAIN_NODES:
                self._problem(_REASONS.get(kind, f"has `{kind.replace('_', ' ')}`"))
            if kind in ("command", "declaration_command", "unset_command", "test_command"):
                self._command(node, top)
            elif kind == "file_redirect":
                self._redirect(node)
            else:
                self._names(node)
            if kind in ("function_definition", "command_substitution", "process_substitution"):
                top = False
            # `word` reads a word as a whole, so the bytes in it are not checked here.
            whole = kind in ("word", "number", "string", "raw_string", "concatenation", "comment")
            if whole or not node.child_count:
                self._gap(last_end, node)
                last_end = max(last_end, node.end_byte)
            if whole:
                if kind in ("string", "concatenation"):
                    stack.extend(
                        (child, top) for child in _substitutions(node) if child is not node
                    )
            else:
                stack.extend((child, top) for child in reversed(node.children))
        if not _BLANK.fullmatch(self.source[last_end:]):
            self._problem("does not parse")

    def _names(self, node: Node) -> None:
        """Record the functions and variables that the shell has afterwards, and known texts."""
        if node.type == "heredoc_body":
            self.documents.append(self._text(node))
        elif node.type == "herestring_redirect":
            self.documents += [
                value for child in node.named_children if (value := self.word(child).value)
            ]
        elif node.type == "function_definition":
            name = node.child_by_field_name("name")
            self.functions.append(self._text(name) if name else "")
        elif node.type in ("for_statement", "select_statement", "c_style_for_statement"):
            name = node.child_by_field_name("variable")
            self.variables.append(self._text(name) if name else "")
            self._value(name, node.children_by_field_name("value"))
        elif node.type == "variable_assignment":
            self._value(node.child_by_field_name("name"), node.children_by_field_name("value"))
            parent = node.parent
            if parent is None or parent.type != "command":
                name = node.child_by_field_name("name")
                self.variables.append(self._text(name) if name else "")

    def _value(self, name: Node | None, given: list[Node]) -> None:
        if name is not None:
            known = [value for node in given if (value := self.word(node).value)]
            self.values.setdefault(self._text(name), []).extend(known)

    def _problem(self, reason: str) -> None:
        self.problems.append(reason)

    def _gap(self, last_end: int, node: Node) -> None:
        if node.start_byte > last_end and not _BLANK.fullmatch(
            self.source[last_end : node.start_byte]
        ):
            self._problem("does not parse")

    def _text(self, node: Node) -> str:
        return self.source[node.start_byte : node.end_byte].decode("utf-8", "surrogateescape")

    def _command(self, node: Node, top: bool) -> None:
        words: list[Word] = []
        assignments: list[str] = []
        last_end = -1
        for child in [*_word_nodes(node), *_words_after_redirects(node)]:
            if child.type == "variable_assignment":
                assignments.append(self._text(child))
                continue
            if last_end >= 0:
                self._separated(last_end, child)
            last_end = child.end_byte
            word = self.word(child)
            if word.value is None and not word.plain_variables:
                self._problem(_REASONS.get(child.type, "has a word that is computed when it runs"))
            words.append(word)
        if words and words[0].value is not None and _TAKES_ASSIGNMENT.match(words[0].text):
            self._problem("sets a variable")
        until = _scope_end(node) if words and words[0].value == "cd" else None
        self.commands.append(
            SimpleCommand(words, self._text(node), top, node.start_byte, until, assignments)
        )

    def _separated(self, last_end: int, node: Node) -> None:
        """Check for a blank between two words: the tree also splits at an escaped newline, where
        bash joins them."""
        between = self.source[last_end : node.start_byte]
        if not re.search(rb"[ \t]", between) or b"\n" in between.replace(b"\\\n", b""):
            self._problem("has adjacent words that bash joins")

    def _redirect(self, node: Node) -> None:
        if node.start_byte and self.source[node.start_byte - 1 : node.start_byte] == b"}":
            self._problem("sets a variable to a file descriptor")
        operator = next((c.type for c in node.children if not c.is_named), "")
        targets = node.children_by_field_name("destination")
        if len(targets) > 1 and not _is_simple(node.parent):
            self._problem("has words after a redirection")
        if not targets:
            if operator not in (">&-", "<&-"):
                self._problem("redirects")
            return
        word = self.word(targets[0])
        if operator in (">&", "<&") and re.fullmatch(r"[0-9]", word.text):
            return
        if word.value is None or word.glob:
            self._problem("redirects to a file whose name is computed when it runs")
        if operator == "<":
            self.reads.append(word)
        elif word.value != "/dev/null":
            self.writes.append(word)

    def word(self, node: Node) -> Word:
        """Decode a word; its value is None unless it is certain."""
        text = self._text(node)
        word = self._decoded(text)
        if word.value is None and "$" in text and "'" not in text:
            rest = _PLAIN_VARIABLE.sub("x", text)
            return replace(word, plain_variables=self._decoded(rest).value is not None)
        return word

    def _decoded(self, text: str) -> Word:
        parts: list[str] = []
        glob = False
        position = 0
        while position < len(text):
            if text[position] == "'" and (match := _SINGLE.match(text, position)):
                parts.append(match.group()[1:-1])
            elif text[position] == '"' and (match := _DOUBLE.match(text, position)):
                parts.append(re.sub(r'\\([$`"\\])', r"\1", match.group()[1:-1]))
            elif match := _UNQUOTED.match(text, position):
                piece, is_glob = _unquoted(match.group(), position == 0, match.group() == text)
                if piece is None:
                    return Word(text, None)
                glob = glob or is_glob
                parts.append(piece)
            else:
                return Word(text, None)
            position = match.end()
        return Word(text, "".join(parts), glob)


def _unquoted(text: str, first: bool, whole: bool) -> tuple[str | None, bool]:
    """The value of unquoted text, None if it expands, and whether it has a pattern."""
    bare = re.sub(r"\\.", "_", text)
    if "{" in bare and ("," in bare or ".." in bare):
        return None, False  # a brace expansion
    if "#" in bare and first and bare.startswith("#"):
        return None, False
    home = ""
    if "~" in bare:
        if first and (bare.startswith("~/") or (bare == "~" and whole)):
            home, text, bare = os.path.expanduser("~"), text[1:], bare[1:]
        if re.search(r"(^|[=:])~", bare):
            return None, False
    value = home + re.sub(r"\\(.)", r"\1", text)
    is_glob = bool(re.search(r"[*?]|\[.*\]", bare)) and bare not in ("[", "]")
    return value, is_glob


def _scope_end(node: Node) -> int | None:
    """The end of the pipeline or subshell that a command is in, or None."""
    parent = node.parent
    while parent is not None:
        if parent.type in ("pipeline", "subshell"):
            return parent.end_byte
        parent = parent.parent
    return None


def _word_nodes(node: Node) -> Iterator[Node]:
    """The words of a command node, tests flattened."""
    if node.type != "test_command":
        for child in node.children:
            if child.type == "command_name":
                yield from child.children
            elif child.is_named:
                if not child.type.endswith("redirect"):
                    yield child
            elif node.type != "command":
                yield child  # the keyword `export` or `unset`
        return
    stack = list(reversed(node.children))
    while stack:
        child = stack.pop()
        if child.type.endswith("_expression"):
            stack.extend(reversed(child.children))
        else:
            yield child


def _is_simple(statement: Node | None) -> bool:
    """Whether a statement is a simple command with redirections."""
    if statement is None or statement.type != "redirected_statement":
        return False
    body = statement.child_by_field_name("body")
    return body is not None and body.type == "command"


def _words_after_redirects(node: Node) -> Iterator[Node]:
    """Words of a simple command after a redirection: further targets for the grammar, arguments
    for bash."""
    statement = node.parent
    if node.type != "command" or statement is None or not _is_simple(statement):
        return
    for redirect in statement.children_by_field_name("redirect"):
        if redirect.type == "file_redirect":
            yield from redirect.children_by_field_name("destination")[1:]


def _substitutions(node: Node) -> list[Node]:
    """Nodes inside a word that are not plain text."""
    return [
        child
        for child in node.children
        if child.type
        not in ("string_content", '"', "word", "raw_string", "number", "brace_expression")
    ]
