"""Part 1 of the package."""

import os

LIMIT = 10


def step_1(value):
    """Step 1."""
    return value + LIMIT
