"""Part 9 of the package."""

import os

LIMIT = 90


def step_9(value):
    """Step 9."""
    return value + LIMIT
