"""What a call was decided about, so that after any wait it does just that or nothing.

Between the policy's decision (a person may take minutes) and the run, a command in the background
can put a link in the place of a file. A tool records in `actions` what it would do, and checks it
in `run` with what it is about to do.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from laguna_agent.tools.files.workspace import PathError
from laguna_agent.tools.tool import ToolContext

_STATE = "files.decided"
_MOST = 256


def record(context: ToolContext, call: BaseModel, *what: Any) -> None:
    """Record what a call would do."""
    decided: dict[str, tuple[Any, ...]] = context.state.setdefault(_STATE, {})
    decided.pop(_key(call), None)
    while len(decided) >= _MOST:
        del decided[next(iter(decided))]
    decided[_key(call)] = what


def check(context: ToolContext, call: BaseModel, *what: Any) -> None:
    """Raises PathError if a call would do something else now than it was decided about."""
    decided: dict[str, tuple[Any, ...]] = context.state.setdefault(_STATE, {})
    if decided.get(_key(call), what) != what:
        raise PathError(
            "the file changed just now, while this was decided; nothing was done. Call again."
        )


def _key(call: BaseModel) -> str:
    return f"{type(call).__name__}{call.model_dump_json()}"
