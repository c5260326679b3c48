"""The terminal interface: small widgets that show a session's events and send it messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from laguna_agent.agent.settings import Settings


def run_tui(
    start: Callable[[], Settings],
    *,
    prompt: str | None = None,
    cwd: Path | None = None,
    resumes: bool = False,
) -> int:
    """Run the interface until the user exits; returns the exit code.

    `start` makes the settings, in a thread that the first paint does not wait for. `prompt` is the
    first message and `cwd` the directory to work in; `resumes` says that an earlier conversation
    opens, so that no welcome is shown. Raises what `start` raised, and UsageError
    without a terminal that can show the interface.
    """
    import contextlib
    import os
    import sys

    from laguna_agent.errors import UsageError

    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        raise UsageError("this is not a terminal", hint='Without one, use: laguna --task "..."')
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("this terminal cannot show the interface (TERM=dumb)",
                         hint='Set TERM, or use: laguna --task "..."')  # fmt: skip
    from laguna_agent.interfaces.tui.system import latency

    latency.tune()
    from laguna_agent.interfaces.tui.app import LagunaApp

    app = LagunaApp(start, prompt=prompt, cwd=cwd, resumes=resumes)
    code = app.run(mouse=app.preferences.mouse)
    if app.exit_message:
        with contextlib.suppress(OSError):  # the window is closed
            sys.stdout.write(app.exit_message + "\n")
            sys.stdout.flush()
    if app.fatal is not None:
        raise app.fatal
    return app.return_code or code or 0
