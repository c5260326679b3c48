def format_price(cents):
    return f"<{cents}>"
