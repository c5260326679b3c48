from views import slugify


def entry(title):
    return {"id": slugify(title), "title": title}
