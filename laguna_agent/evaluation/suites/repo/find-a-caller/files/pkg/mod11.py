"""Part 11 of the package."""

import os

LIMIT = 110


def step_11(value):
    """Step 11."""
    return value + LIMIT
