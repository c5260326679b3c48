"""Part 17 of the package."""

import os

LIMIT = 170


def step_17(value):
    """Step 17."""
    return value + LIMIT
