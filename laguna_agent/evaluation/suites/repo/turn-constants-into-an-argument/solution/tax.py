"""Value added tax."""

RATE = 0.19


def gross(net):
    return round(net * (1 + RATE), 2)


def net(gross_amount):
    return round(gross_amount / (1 + RATE), 2)


def tax(net_amount):
    return round(net_amount * RATE, 2)
