from shop.basket import calc_tot

FREE_FROM = 50


def shipped(lines):
    total = calc_tot(lines)
    return total if total >= FREE_FROM else total + 5
