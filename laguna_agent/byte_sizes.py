"""Numbers of bytes as text: decimal units for files, binary units for memory."""

from __future__ import annotations


def gigabytes(count: int) -> str:
    """A file's size in decimal units: `12.4 GB`, `650 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def gib(count: int) -> str:
    """An amount of memory in binary units: `23.4 GiB`, `310 MiB`, `12 KiB`."""
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 or not count else f"{count / 2**10:.0f} KiB"
