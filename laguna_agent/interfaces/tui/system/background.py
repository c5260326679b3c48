"""Work in the interface's own event loop that no key waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from laguna_agent.errors import LagunaError
from laguna_agent.log import unexpected

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")


def in_background(
    node: DOMNode,
    group: str,
    work: Callable[P, Coroutine[Any, Any, R]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Worker[R]:
    """Await `work(*args)` in a worker of `node`, replacing its present work in the group.

    Takes a function: a coroutine created here would never be awaited if the worker is cancelled
    before it starts.
    """
    return node.run_worker(partial(work, *args, **kwargs), group=group, exclusive=True)


async def run_reporting_errors(work: Awaitable[None], report: Callable[[str, Any], None]) -> None:
    """Await `work` and report its error: a failing command must not end the interface."""
    try:
        await work
    except LagunaError as error:
        report(str(error), "error")
    except Exception as error:
        report(unexpected(error), "error")
