import re


def slug(title):
    return re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-")
