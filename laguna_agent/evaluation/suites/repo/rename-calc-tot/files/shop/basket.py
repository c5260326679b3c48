def calc_tot(lines):
    """The sum of count times price."""
    return sum(count * price for count, price in lines)
