"""Splits results into pages."""


def page_count(items, size):
    """How many pages of `size` are needed for `items` results; at least one."""
    return items // size + 1


def page(items, number, size):
    """The results on a page; pages are numbered from 1."""
    start = (number - 1) * size
    return items[start : start + size]
