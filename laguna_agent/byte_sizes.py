"""Numbers of bytes as text: decimal units for files, binary units for memory."""

from __future__ import annotations


def gigabytes(count: int) -> str:
    """A file's size in decimal units: `20.3 GB`, `98 MB`, `12 kB`, `7 bytes`."""
    for unit, size, digits in (("GB", 10**9, 1), ("MB", 10**6, 0), ("kB", 10**3, 0)):
        if count >= size:
            return f"{count / size:.{digits}f} {unit}"
    return f"{count} bytes"


def gib(count: int) -> str:
    """An amount of memory in binary units: `23.4 GiB`, `310 MiB`, `12 KiB`."""
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 or not count else f"{count / 2**10:.0f} KiB"
