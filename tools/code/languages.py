"""Detects the language of a file and loads its tree-sitter parser when needed."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Parser, Tree

PARSE_LIMIT = 2 << 20
"""Largest file that is parsed, in bytes."""


@dataclass(frozen=True)
class LanguageGrammar:
    """A grammar package: its module and the function that returns the language."""

    module: str
    function: str = "language"


_GRAMMARS = {
    "python": LanguageGrammar("tree_sitter_python"),
    "javascript": LanguageGrammar("tree_sitter_javascript"),
    "typescript": LanguageGrammar("tree_sitter_typescript", "language_typescript"),
    "tsx": LanguageGrammar("tree_sitter_typescript", "language_tsx"),
    "go": LanguageGrammar("tree_sitter_go"),
    "rust": LanguageGrammar("tree_sitter_rust"),
    "c": LanguageGrammar("tree_sitter_c"),
    "cpp": LanguageGrammar("tree_sitter_cpp"),
    "java": LanguageGrammar("tree_sitter_java"),
    "csharp": LanguageGrammar("tree_sitter_c_sharp"),
    "ruby": LanguageGrammar("tree_sitter_ruby"),
    "php": LanguageGrammar("tree_sitter_php", "language_php"),
    "bash": LanguageGrammar("tree_sitter_bash"),
    "json": LanguageGrammar("tree_sitter_json"),
    "toml": LanguageGrammar("tree_sitter_toml"),
    "yaml": LanguageGrammar("tree_sitter_yaml"),
    "html": LanguageGrammar("tree_sitter_html"),
    "css": LanguageGrammar("tree_sitter_css"),
}
_EXTENSIONS = {
    "python": "py pyi pyw",
    "javascript": "js mjs cjs jsx",
    "typescript": "ts mts cts",
    "tsx": "tsx",
    "go": "go",
    "rust": "rs",
    "c": "c h",
    "cpp": "cc cpp cxx c++ hpp hh hxx h++ ipp tpp cu cuh",
    "java": "java",
    "csharp": "cs",
    "ruby": "rb rake gemspec ru",
    "php": "php phtml",
    "bash": "sh bash",
    "json": "json",
    "toml": "toml",
    "yaml": "yaml yml",
    "html": "html htm",
    "css": "css",
}
_BY_EXTENSION = {
    extension: language
    for language, extensions in _EXTENSIONS.items()
    for extension in extensions.split()
}
_BY_NAME = {
    "Rakefile": "ruby",
    "Gemfile": "ruby",
    ".bashrc": "bash",
    ".bash_profile": "bash",
    ".profile": "bash",
    "Pipfile": "toml",
    "Cargo.lock": "toml",
    "poetry.lock": "toml",
    "uv.lock": "toml",
}
_INTERPRETERS = {
    "python": "python",
    "bash": "bash",
    "sh": "bash",
    "dash": "bash",
    "node": "javascript",
    "ruby": "ruby",
    "php": "php",
}


def language_of(path: str, head: bytes = b"") -> str | None:
    """The language by file name or `#!` line; None if there is no grammar for it."""
    name = path.rpartition("/")[2]
    if name in _BY_NAME:
        return _BY_NAME[name]
    stem, dot, extension = name.rpartition(".")
    if dot and stem:
        found = _BY_EXTENSION.get(extension.lower())
        if found == "c" and extension == "h" and _looks_like_cpp(head):
            return "cpp"
        return found
    if head.startswith(b"#!"):
        words = head.split(b"\n", 1)[0][2:].decode("utf-8", "replace").split()
        programs = [word.rpartition("/")[2].rstrip("0123456789.") for word in words]
        return next((_INTERPRETERS[p] for p in programs if p in _INTERPRETERS), None)
    return None


def _looks_like_cpp(head: bytes) -> bool:
    return any(word in head for word in (b"namespace ", b"template<", b"template <", b"class "))


@functools.cache
def load(language: str) -> Language:
    """The tree-sitter language, whose package is imported here."""
    from tree_sitter import Language

    grammar = _GRAMMARS[language]
    module = importlib.import_module(grammar.module)
    return Language(getattr(module, grammar.function)())


def parser(language: str) -> Parser:
    """A new parser; parsers cannot be shared between threads."""
    from tree_sitter import Parser

    return Parser(load(language))


def parse(language: str, data: bytes) -> Tree:
    """The syntax tree of UTF-8 source."""
    return parser(language).parse(data)


# --- does it parse? -------------------------------------------------------------------------


class SyntaxProblem(NamedTuple):
    """A syntax error: its 1-based line and what is wrong there."""

    line: int
    message: str


@functools.lru_cache(maxsize=8)  # a change is planned twice: for the policy and to run
def syntax_problem(path: str, text: str) -> SyntaxProblem | None:
    """The first syntax error; None if there is none, or no grammar."""
    data = text.encode("utf-8", "replace")
    language = language_of(path, data[:4096])
    if language is None or len(data) > PARSE_LIMIT:
        return None
    root = parse(language, data).root_node
    return _first_problem(root, data) if root.has_error else None


@functools.lru_cache(maxsize=8)
def strict_problem(path: str, text: str) -> SyntaxProblem | None:
    """Like `syntax_problem`, but Python is also parsed by `ast`, as its grammar is lenient.

    Code for a newer Python than this one fails: compare with the file before the change.
    """
    problem = syntax_problem(path, text)
    if problem is not None or language_of(path, text[:200].encode("utf-8", "replace")) != "python":
        return problem
    import ast
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return SyntaxProblem(error.lineno or 1, error.msg)
    except (ValueError, RecursionError, MemoryError):
        return None
    return None


def _first_problem(root: Node, data: bytes) -> SyntaxProblem:
    node = root
    while True:
        broken = next((c for c in node.children if c.has_error or c.is_error or c.is_missing), None)
        if broken is None or node.is_missing:
            break
        node = broken
        if node.is_error and not any(c.has_error for c in node.children):
            break
    line = node.start_point[0] + 1
    if node.is_missing:
        return SyntaxProblem(line, f"missing {node.type}")
    snippet = data[node.start_byte : node.end_byte].split(b"\n", 1)[0].decode("utf-8", "replace")
    return SyntaxProblem(line, f"unexpected {snippet.strip()[:60] or 'end'}")
