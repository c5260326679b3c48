from money import format_price


def total_line(items):
    return "Total: " + format_price(sum(items))


if __name__ == "__main__":
    print(total_line([1999, 501]))
