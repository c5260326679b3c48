"""Part 19 of the package."""

import os

LIMIT = 190


def step_19(value):
    """Step 19."""
    return value + LIMIT
