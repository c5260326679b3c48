from prices import net_price


def total(prices):
    return sum(net_price(price) for price in prices)
