def net_price(gross):
    """The price without the tax of 19 %."""
    return round(gross / 1.19, 2)
