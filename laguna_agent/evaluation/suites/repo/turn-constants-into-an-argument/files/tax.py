"""Value added tax."""


def gross(net):
    return round(net * (1 + 0.19), 2)


def net(gross_amount):
    return round(gross_amount / (1 + 0.19), 2)


def tax(net_amount):
    return round(net_amount * 0.19, 2)
