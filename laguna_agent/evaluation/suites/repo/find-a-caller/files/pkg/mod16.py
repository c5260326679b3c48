"""Part 16 of the package."""

import os

LIMIT = 160


def step_16(value):
    """Step 16."""
    return value + LIMIT
