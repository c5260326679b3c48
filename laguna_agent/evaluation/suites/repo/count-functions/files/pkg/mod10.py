"""Part 10 of the package."""

import os

LIMIT = 100


def step_10(value):
    """Step 10."""
    return value + LIMIT


def fetch_10(url, timeout=None):
    return os.fspath(url), timeout
