from text import repeat


def line(n):
    """A line of n equal signs."""
    return repeat("=", times=n)
