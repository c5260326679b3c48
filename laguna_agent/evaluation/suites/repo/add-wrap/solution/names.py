"""Functions on names."""


def reverse(name):
    """`Ada Lovelace` becomes `Lovelace, Ada`."""
    first, _, last = name.rpartition(" ")
    return f"{last}, {first}" if first else last


def initials(name):
    return ''.join(f'{word[0].upper()}.' for word in name.split())
