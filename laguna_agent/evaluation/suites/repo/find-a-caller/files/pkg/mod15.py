"""Part 15 of the package."""

import os

LIMIT = 150


def step_15(value):
    """Step 15."""
    return value + LIMIT


def fetch_15(url, timeout=None):
    return os.fspath(url), timeout
