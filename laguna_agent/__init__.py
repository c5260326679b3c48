"""laguna: a terminal-native coding agent that runs its model on the user's own machine."""

import os
import sys

__version__ = "0.1.0"

# Before anything else is imported: an empty or relative entry of PYTHONPATH would let the
# repository that laguna is started in bring a `json.py` or an `httpx.py` along.
_own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:] = [p for p in sys.path if os.path.isabs(p) and (p == _own or p != os.getcwd())]
