"""Part 8 of the package."""

import os

LIMIT = 80


def step_8(value):
    """Step 8."""
    return value + LIMIT
