"""Functions on lists."""


def flatten(lists):
    """All items of some lists, in one list."""
    return [item for items in lists for item in items]
