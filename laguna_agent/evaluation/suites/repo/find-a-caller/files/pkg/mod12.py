"""Part 12 of the package."""

import os

LIMIT = 120


def step_12(value):
    """Step 12."""
    return value + LIMIT
