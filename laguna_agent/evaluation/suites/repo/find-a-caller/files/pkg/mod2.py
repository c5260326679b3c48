"""Part 2 of the package."""

import os

LIMIT = 20


def step_2(value):
    """Step 2."""
    return value + LIMIT
