"""Part 24 of the package."""

import os

LIMIT = 240


def step_24(value):
    """Step 24."""
    return value + LIMIT
