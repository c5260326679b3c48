"""Part 4 of the package."""

import os

LIMIT = 40


def step_4(value):
    """Step 4."""
    return value + LIMIT
