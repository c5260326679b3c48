"""Part 7 of the package."""

import os

LIMIT = 70


def step_7(value):
    """Step 7."""
    return value + LIMIT
