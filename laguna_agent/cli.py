"""Commands and flags, nothing else."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        from laguna_agent import __version__

        sys.stdout.write(f"laguna {__version__}\n")
        return 0
    return 2
