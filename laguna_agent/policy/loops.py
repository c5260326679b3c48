"""Unrolls `for` loops over known words, so that their commands are analysed one by one.

`for f in *.py; do wc -l "$f"; done` only reads, which shows once `$f` is replaced by `*.py`. The
text that results is for analysis; what runs is the loop.
"""

from __future__ import annotations

import glob
import os
import re
from functools import lru_cache
from itertools import islice

from tree_sitter import Node

from laguna_agent.policy.shell_syntax import bash_tree

_VARIABLE = re.compile(r"[a-z][a-z0-9_]*")
"""The shell's own variables are in capitals."""
_LITERAL = re.compile(r"[A-Za-z0-9_./:+,@-]+")
_PATTERN = re.compile(r"[A-Za-z0-9_./:+,@*?-]+")
_MOST_WORDS = 32
_MOST_LOOPS = 4
_MOST_MATCHES = 1_000


def unrolled(command: str, cwd: str) -> str:
    """The command line with its loops over plain words written out; others stay as they are."""
    for _ in range(_MOST_LOOPS):
        if not re.search(r"\bfor\b", command):
            break
        found = _unrolled_once(command, cwd)
        if found is None:
            break
        command = found
    return command


@lru_cache(maxsize=128)
def _unrolled_once(command: str, cwd: str) -> str | None:
    try:
        source = command.encode("utf-8")
    except UnicodeEncodeError:
        return None
    stack = [bash_tree(source).root_node]
    while stack:
        node = stack.pop()
        if node.type == "for_statement" and not node.has_error:
            text = _bodies(node, source, cwd)
            if text is not None:
                whole = source[: node.start_byte] + text + source[node.end_byte :]
                return whole.decode("utf-8", "replace")
        stack.extend(reversed(node.children))
    return None


def _bodies(loop: Node, source: bytes, cwd: str) -> bytes | None:
    """The body once for each word, in braces; None where a word or the variable is not plain."""
    name = loop.child_by_field_name("variable")
    body = loop.child_by_field_name("body")
    words = [
        source[n.start_byte : n.end_byte].decode() for n in loop.children_by_field_name("value")
    ]
    if name is None or body is None or not 0 < len(words) <= _MOST_WORDS or name.text is None:
        return None
    if not _VARIABLE.fullmatch(name.text.decode()) or loop.children[0].type != "for":
        return None
    if not all(map(_PATTERN.fullmatch, words)) or body.type != "do_group":
        return None
    first, last = body.children[0], body.children[-1]
    if first.type != "do" or last.type != "done":
        return None
    uses = _uses(body, name.text)
    inside = (first.end_byte, last.start_byte)
    texts = [_with_word(source, inside, uses, word, cwd) for word in words]
    return b"{ " + b"\n".join(texts).replace(b";;", b";") + b"\n}"


def _uses(body: Node, name: bytes) -> list[Node]:
    """Where the variable is expanded, in order."""
    found: list[Node] = []
    stack = [body]
    while stack:
        node = stack.pop()
        plain = node.type == "simple_expansion" or (
            node.type == "expansion" and node.text == b"${" + name + b"}"
        )
        if plain and any(child.text == name for child in node.named_children):
            found.append(node)
        else:
            stack.extend(reversed(node.children))
    return found


def _with_word(
    source: bytes, inside: tuple[int, int], uses: list[Node], word: str, cwd: str
) -> bytes:
    start, end = inside
    out = bytearray()
    for use in uses:
        place = _place_for(use, word, cwd)
        if place is None or place.start_byte < start:
            continue  # stays a variable, whose value is not known
        out += source[start : place.start_byte] + word.encode()
        start = place.end_byte
    text = bytes(out + source[start:end]).strip()
    return text.removesuffix(b";").strip()


def _place_for(use: Node, word: str, cwd: str) -> Node | None:
    """The node that the word can stand for: the expansion, or the quoted string around it."""
    parent = use.parent
    quoted = parent is not None and parent.type == "string"
    if _LITERAL.fullmatch(word):
        return use
    if quoted and parent is not None and parent.named_child_count == 1:
        # In quotes a pattern is no pattern, so the string goes as a whole.
        return parent if parent.end_byte - parent.start_byte == len(use.text or b"") + 2 else None
    alone = parent is not None and parent.type == "command"
    return use if alone and _matches_are_plain(word, cwd) else None


def _matches_are_plain(pattern: str, cwd: str) -> bool:
    """Whether no file that matches would be split into several words or be an option."""
    matches = list(islice(glob.iglob(os.path.join(cwd, pattern)), _MOST_MATCHES))
    return len(matches) < _MOST_MATCHES and not any(
        re.search(r"[\s*?\[\\]", match[len(cwd) :]) or os.path.basename(match)[:1] == "-"
        for match in matches
    )
