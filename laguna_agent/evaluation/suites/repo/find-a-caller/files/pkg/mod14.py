"""Part 14 of the package."""

import os

LIMIT = 140


def step_14(value):
    """Step 14."""
    return value + LIMIT
