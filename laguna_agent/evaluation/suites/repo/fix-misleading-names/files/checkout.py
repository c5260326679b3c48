from helpers import apply_tax


def price(amount, percent):
    """The price after a discount of `percent`."""
    return apply_tax(amount, percent)
