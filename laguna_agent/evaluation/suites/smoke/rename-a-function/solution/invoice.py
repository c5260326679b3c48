import prices


def line(name, gross):
    return f"{name}: {prices.net_price(gross)}"
