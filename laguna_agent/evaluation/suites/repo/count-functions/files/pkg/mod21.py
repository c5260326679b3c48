"""Part 21 of the package."""

import os

LIMIT = 210


def step_21(value):
    """Step 21."""
    return value + LIMIT
