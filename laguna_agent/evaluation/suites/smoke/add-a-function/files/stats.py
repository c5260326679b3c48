"""Simple statistics of lists of numbers."""


def mean(values):
    """The arithmetic mean. Raises ValueError for an empty list."""
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)
