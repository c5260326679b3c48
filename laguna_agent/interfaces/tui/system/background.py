"""Work in the interface's own event loop that no key waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from textual.css.query import NoMatches

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
) -> Worker[R | None]:
    """Await `work(*args)` in a worker of `node`, replacing its present work in the group.

    Takes a function: a coroutine created here would never be awaited if the worker is cancelled
    before it starts. A node that is being removed loses its children before its workers: what the
    work then misses is no error, and its result is None.
    """

    async def working() -> R | None:
        try:
            return await work(*args, **kwargs)
        except NoMatches:
            if _being_removed(node):
                return None
            raise

    return node.run_worker(working, group=group, exclusive=True)


def _being_removed(node: DOMNode) -> bool:
    return not node.is_running or any(
        each.styles.display != "none" and not each.display for each in node.ancestors_with_self
    )


async def run_reporting_errors(work: Awaitable[None], report: Callable[[str, Any], None]) -> None:
    """Await `work` and report its error: a failing command must not end the interface."""
    try:
        await work
    except LagunaError as error:
        report(str(error), "error")
    except Exception as error:
        report(unexpected(error), "error")
