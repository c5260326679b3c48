"""Part 23 of the package."""

import os

LIMIT = 230


def step_23(value):
    """Step 23."""
    return value + LIMIT
