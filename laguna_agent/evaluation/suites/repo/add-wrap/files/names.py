"""Functions on names."""


def reverse(name):
    """`Ada Lovelace` becomes `Lovelace, Ada`."""
    first, _, last = name.rpartition(" ")
    return f"{last}, {first}" if first else last
