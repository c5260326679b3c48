from prices import calc


def total(prices):
    return sum(calc(price) for price in prices)
