"""Tasks to move code to new files, told from their words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from laguna_agent.agent.check.task_marks import sentences_of
from laguna_agent.agent.context.first_message import ShownFile
from laguna_agent.tools.code.index import index_source
from laguna_agent.tools.code.languages import language_of

_MOVES = re.compile(r"\b(?:move|extract|split|put|pull|factor)\b", re.IGNORECASE)
_REMOVE = re.compile(
    r"(?:^|[,;]\s*|\band\s+|\bthen\s+)(?:(?:and|then|finally|also)\s+)*(?:remove|delete)\s+"
    r"(?:the\s+)?(?:(?:old|now\s+empty|empty)\s+)?(?:file\s+)?[`'\"]?([\w./-]*\w\.\w+)[`'\"]?"
    r"(?=\s*(?:[.,;]?$|,\s+and\b))",
    re.IGNORECASE,
)
_UNCLEAR = re.compile(
    r"\b(?:not|never|without|instead|unless|if|when|later|avoid|refuse|nobody|someone|keep|only"
    r"|after|once|will|would|backup|must|tomorrow)\b|n['’]t\b|[?:]",
    re.IGNORECASE,
)

_STAYS = re.compile(
    r"(?:\b(?:not|never|without)|n['’]t)\s+(?:\w+\s+)?(?:chang|touch|edit|modif|alter)\w*"
    r"|\b(?:leave|keep)\b|\b(?:stays?|remains?)\s+(?:as|the same|unchanged|untouched)"
    r"|\b(?:unchanged|untouched)\b",
    re.IGNORECASE,
)


def moves_code(task: str) -> bool:
    """Whether a task may be to move code."""
    return _MOVES.search(task) is not None


def stays(task: str, path: str) -> bool:
    """Whether a sentence with a file may say that it stays as it is."""
    name = PurePosixPath(path).name
    return any(name in part and _STAYS.search(part) for part in sentences_of(task))


def files_to_remove(task: str, files: Sequence[ShownFile], moved: str) -> list[str]:
    """The files that a task asks to remove, where all that they define is in the text of the files
    that code `moved` to. Only what is clear counts: a file is lost otherwise."""
    clear = [part for part in sentences_of(task) if not _UNCLEAR.search(part)]
    asked = {match[1] for part in clear for match in _REMOVE.finditer(part)}
    words = set(re.findall(r"\w+", moved))
    return [file.path for file in files if file.path in asked and _names_in(file) <= words]


def _names_in(file: ShownFile) -> set[str]:
    """What a file of code defines, at its top level; for other files a name that nothing has."""
    language = language_of(file.path)
    if language is None:
        return {file.path}
    index = index_source(language, file.plain.encode())
    return {one.name for one in index.definitions if not one.parent}
