"""Part 6 of the package."""

import os

LIMIT = 60


def step_6(value):
    """Step 6."""
    return value + LIMIT
