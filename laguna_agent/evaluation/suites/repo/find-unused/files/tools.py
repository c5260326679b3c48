def trim(text):
    return text.strip()


def fold(text):
    return trim(text).lower()


def widen(text):
    return f" {text} "


def double(text):
    return text * 2
