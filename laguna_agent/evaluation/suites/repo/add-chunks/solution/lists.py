"""Functions on lists."""


def flatten(lists):
    """All items of some lists, in one list."""
    return [item for items in lists for item in items]


def chunks(items, size):
    if size < 1:
        raise ValueError(size)
    return [items[i : i + size] for i in range(0, len(items), size)]
