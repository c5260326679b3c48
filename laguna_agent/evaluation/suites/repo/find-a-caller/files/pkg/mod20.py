"""Part 20 of the package."""

import os

LIMIT = 200


def step_20(value):
    """Step 20."""
    return value + LIMIT


def fetch_20(url, timeout=None):
    return os.fspath(url), timeout
