def parse(text):
    """An amount such as `3.50` or `3` in cents."""
    whole, dot, cents = text.partition(".")
    return int(whole) * 100 + int(cents)
