"""Files as the person has them in an editor: reads what is not saved, and lets the editor write.

An editor opens files by their path, following links. So it is asked by a file's real path, and only
while nothing of laguna runs that could put a link there; everything else goes to the disk.
"""

from __future__ import annotations

import os

from laguna_agent.tools.files.encoding import Document, EncodingError, decode
from laguna_agent.tools.files.workspace import PathError, WorkspacePath, read_bytes
from laguna_agent.tools.shell import commands_if_quiet
from laguna_agent.tools.tool import EditorFiles, ToolContext


def as_edited(context: ToolContext, target: WorkspacePath, data: bytes) -> bytes:
    """The content of a file: `data`, which the disk has, or that of the editor where it differs."""
    editor, document = _editor(context, target), decode(data)
    if editor is None or document is None:
        return data
    text = editor.read(target.path)
    if text is None or Document(text).text == document.text:
        return data
    try:
        return document.with_text(Document(text).text).encode()
    except EncodingError:
        return data


def written_by_editor(
    context: ToolContext, target: WorkspacePath, old: Document, new: Document
) -> bool:
    """Whether the editor wrote the change of a file; if not, nothing was done.

    Raises PathError when only the editor could: it has changes that are not saved.
    """
    editor = _editor(context, target)
    on_disk = read_bytes(target, len(old.encode()) + 1) == old.encode()
    if editor is not None and editor.write(target.path, new.text):
        return True
    if editor is not None and not on_disk:
        raise PathError(f"{target.label} has changes in the editor that are not saved, and the "
                        "editor did not take this one. Ask the user to save the file.")  # fmt: skip
    return False


def _editor(context: ToolContext, target: WorkspacePath) -> EditorFiles | None:
    if context.editor is None or target.saved or commands_if_quiet(context) is None:
        return None
    return context.editor if os.path.realpath(target.path) == str(target.path) else None
