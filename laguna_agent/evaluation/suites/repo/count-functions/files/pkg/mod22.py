"""Part 22 of the package."""

import os

LIMIT = 220


def step_22(value):
    """Step 22."""
    return value + LIMIT
