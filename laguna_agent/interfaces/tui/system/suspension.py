"""Gives the user's terminal to something else while the interface is suspended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual.app import SuspendNotSupported

from laguna_agent.errors import LagunaError

if TYPE_CHECKING:
    from textual.app import App


def run_suspended(app: App[Any], body: Callable[[], None]) -> None:
    """Suspend the interface while `body` runs, and resume it however that ends.

    Raises what `body` raised, and LagunaError where the terminal cannot be given away.
    """
    failure: BaseException | None = None
    try:
        with app.suspend():
            try:  # here: `suspend` does not resume the interface when its body raises
                body()
            except BaseException as error:
                failure = error
    except SuspendNotSupported:
        raise LagunaError("laguna cannot give its terminal away here",
                          hint="Use another terminal.") from None  # fmt: skip
    if failure is not None:
        raise failure
