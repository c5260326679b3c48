SHOP = "Corner Shop"


def format_price(cents):
    sign = "-" if cents < 0 else ""
    cents = abs(cents)
    return f"{sign}{cents // 100}.{cents % 100:02} EUR"


def receipt(paid, due):
    return f"{SHOP}: change {format_price(paid - due)}"


if __name__ == "__main__":
    print(receipt(5000, 4210))
