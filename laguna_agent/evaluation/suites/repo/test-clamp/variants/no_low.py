def clamp(value, low, high):
    """value, but not below low and not above high. Raises ValueError if low is above high."""
    if low > high:
        raise ValueError("low is above high")
    return min(high, value)
