"""Our classes share their attributes with Textual's: a name that both use breaks either."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from functools import cache

from laguna_agent.interfaces import tui

MEANT = {"_filters", "_file", "_return_code"}
"""Attributes of Textual's that are set on purpose."""
ATTRIBUTE = re.compile(
    r"^ +self\.(_[a-z]\w*)(?:: [^=\n]+)? = |^    (_[a-z]\w*): [^=\n]+(?: = |$)", re.MULTILINE
)


@cache
def attributes(module: str) -> frozenset[str]:
    """The private attributes that the classes of a module set."""
    text = inspect.getsource(sys.modules[module])
    return frozenset(match[1] or match[2] for match in ATTRIBUTE.finditer(text))


def own_classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(tui.__path__, f"{tui.__name__}."):
        for kind in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(kind) and kind.__module__ == module.name:
                yield kind


def test_no_attribute_of_ours_has_the_name_of_one_of_textuals() -> None:
    checked, shared = 0, []
    for kind in own_classes():
        theirs = [base for base in kind.__mro__ if base.__module__.startswith("textual.")]
        ours = [base for base in kind.__mro__ if base.__module__.startswith("laguna_agent.")]
        if not theirs:
            continue
        checked += 1
        taken = {name for base in theirs for name in attributes(base.__module__) | set(vars(base))}
        mine = {name for base in ours for name in attributes(base.__module__)}
        shared += [f"{kind.__name__}.{name}" for name in mine & taken - MEANT]
    assert checked > 20
    assert shared == []
