"""Small statistics, without numpy."""


def mean(values):
    """The arithmetic mean. Raises ValueError if there are no values."""
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)


def spread(values):
    """The difference of the largest and smallest value."""
    if not values:
        raise ValueError("no values")
    return max(values) - min(values)


def median(values):
    if not values:
        raise ValueError("no values")
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2
