"""Keeps the time from a key to its paint short: what Python and Textual do behind it.

Both settings are of the process; a program that only imports the interface does not get them.
"""

from __future__ import annotations

import gc
import os
import sys

FRAMES = 120
"""Most frames a second. Textual waits for up to two of them before it paints a key."""
_FIRST, _SECOND, _THIRD = 10_000, 20, 50
_SWITCH_S = 0.001


def begin() -> None:
    """Call before Textual is imported, which makes many objects and no garbage."""
    gc.disable()
    # A key must not wait for long until the agent's thread lets go of the interpreter.
    sys.setswitchinterval(_SWITCH_S)
    if "TEXTUAL_FPS" not in os.environ:
        # It is read at import; programs that laguna starts are not to see it.
        os.environ["TEXTUAL_FPS"] = str(FRAMES)
        import textual.constants  # noqa: F401 (for what it reads)

        del os.environ["TEXTUAL_FPS"]


def settle() -> None:
    """Call when everything is imported and made: what is there stays, and is not looked at again.

    A collection of all of it would stop the interface for 60 ms and more.
    """
    if not gc.isenabled() and not gc.get_freeze_count():
        gc.freeze()
        gc.set_threshold(_FIRST, _SECOND, _THIRD)
        gc.enable()
