"""Makes names for URLs."""

import re


def slug(title):
    """Lower case, with a hyphen for each run of other characters than letters and digits."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
