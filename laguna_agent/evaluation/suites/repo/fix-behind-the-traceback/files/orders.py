from money import parse


def total(lines):
    """The total of lines such as `2 x 3.50`."""
    result = 0
    for line in lines:
        count, price = line.split(" x ")
        result += int(count) * parse(price)
    return result
