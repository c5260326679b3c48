"""Work beside the interface, in its own loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

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
    """Await `work(*args)` beside the interface, in the place of what its node still does in the
    group. A coroutine made here and not by the worker would never be awaited if that is cancelled
    before it begins."""
    return node.run_worker(partial(work, *args, **kwargs), group=group, exclusive=True)
