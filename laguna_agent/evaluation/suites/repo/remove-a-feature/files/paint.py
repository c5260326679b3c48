CODES = {"red": 31, "green": 32}


def paint(text, color):
    return f"\033[{CODES[color]}m{text}\033[0m"
