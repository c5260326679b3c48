"""Part 5 of the package."""

import os

LIMIT = 50


def step_5(value):
    """Step 5."""
    return value + LIMIT


def fetch_5(url, timeout=None):
    return os.fspath(url), timeout
