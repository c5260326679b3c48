from money import format_price

SHOP = "Corner Shop"


def receipt(paid, due):
    return f"{SHOP}: change {format_price(paid - due)}"


if __name__ == "__main__":
    print(receipt(5000, 4210))
