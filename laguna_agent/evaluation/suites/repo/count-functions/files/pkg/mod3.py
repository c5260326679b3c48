"""Part 3 of the package."""

import os

LIMIT = 30


def step_3(value):
    """Step 3."""
    return value + LIMIT
