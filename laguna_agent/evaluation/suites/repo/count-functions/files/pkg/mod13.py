"""Part 13 of the package."""

import os

LIMIT = 130


def step_13(value):
    """Step 13."""
    return value + LIMIT
