import prices


def line(name, gross):
    return f"{name}: {prices.calc(gross)}"
