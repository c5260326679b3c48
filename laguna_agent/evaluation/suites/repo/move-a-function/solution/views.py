from text import slugify


def link(title):
    return f"/posts/{slugify(title)}"
