"""Part 18 of the package."""

import os

LIMIT = 180


def step_18(value):
    """Step 18."""
    return value + LIMIT
