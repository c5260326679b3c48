"""Simple statistics of lists of numbers."""


def mean(values):
    """The arithmetic mean. Raises ValueError for an empty list."""
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)


def median(values):
    """The middle value. Raises ValueError for an empty list."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2
