def format_price(cents):
    sign = "-" if cents < 0 else ""
    cents = abs(cents)
    return f"{sign}{cents // 100}.{cents % 100:02} EUR"


def total_line(items):
    return "Total: " + format_price(sum(items))


if __name__ == "__main__":
    print(total_line([1999, 501]))
