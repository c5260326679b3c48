"""laguna: a terminal-native coding agent that runs its model on the user's own machine.

What a program may import from here is documented in docs/library.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laguna_agent.agent.approval import Approval as Approval
    from laguna_agent.errors import LagunaError as LagunaError
    from laguna_agent.interfaces.library import AcceptPlan as AcceptPlan
    from laguna_agent.interfaces.library import AsyncLaguna as AsyncLaguna
    from laguna_agent.interfaces.library import Laguna as Laguna

__version__ = "0.1.0"
__all__ = ["AcceptPlan", "Approval", "AsyncLaguna", "Laguna", "LagunaError", "__version__"]

_MODULES = {
    "AcceptPlan": "laguna_agent.interfaces.library",
    "Approval": "laguna_agent.agent.approval",
    "AsyncLaguna": "laguna_agent.interfaces.library",
    "Laguna": "laguna_agent.interfaces.library",
    "LagunaError": "laguna_agent.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: importing the package takes no time."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
