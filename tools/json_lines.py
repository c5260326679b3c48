"""Output of worker processes: one JSON value per line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable


def print_lines(values: Iterable[object]) -> None:
    """Print each value at once; exit the process when the reader is gone."""
    try:
        for value in values:
            sys.stdout.write(json.dumps(value) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        os._exit(0)
