from shop.basket import calculate_total

FREE_FROM = 50


def shipped(lines):
    total = calculate_total(lines)
    return total if total >= FREE_FROM else total + 5
