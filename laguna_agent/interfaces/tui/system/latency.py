"""Settings of Python and Textual that shorten the time from a key to its paint.

They affect the whole process, so only a program that runs the interface applies them.
"""

from __future__ import annotations

import gc
import os
import sys

MAX_FPS = 120
"""Frames a second. Textual waits for up to two frames before it paints a key."""
_GC_THRESHOLDS = 10_000, 20, 50
_SWITCH_S = 0.001


def tune() -> None:
    """Apply the settings; call before the import of Textual, which need not be collected."""
    gc.disable()
    # A key must not wait long for the agent's thread to release the interpreter lock.
    sys.setswitchinterval(_SWITCH_S)
    if "TEXTUAL_FPS" not in os.environ:
        # Textual reads it at import; programs that laguna starts must not inherit it.
        os.environ["TEXTUAL_FPS"] = str(MAX_FPS)
        import textual.constants  # noqa: F401 (reads the variable)

        del os.environ["TEXTUAL_FPS"]


def startup_finished() -> None:
    """Exclude all present objects from garbage collection; call when startup is complete.

    A collection of them would stop the interface for 60 ms and more.
    """
    if not gc.isenabled() and not gc.get_freeze_count():
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        gc.enable()
