"""Results of a process of its own, a JSON value a line, for whoever still reads them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable


def print_lines(values: Iterable[object]) -> None:
    """Print each value as soon as it is there; end the process when nobody reads any more."""
    try:
        for value in values:
            sys.stdout.write(json.dumps(value) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        os._exit(0)
