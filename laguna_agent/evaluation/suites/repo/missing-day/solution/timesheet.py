"""Adds up the entries of a time sheet. The entries of a day follow each other."""


def read(text):
    """Lines such as `2024-05-01 90 code` as pairs of a day and minutes."""
    pairs = []
    for line in text.splitlines():
        if line.strip():
            day, minutes, _ = line.split(maxsplit=2)
            pairs.append((day, int(minutes)))
    return pairs


def last_day(pairs):
    """Pairs of each day and its minutes, in order."""
    days = []
    current, total = None, 0
    for day, minutes in pairs:
        if day != current:
            if current is not None:
                days.append((current, total))
            current, total = day, 0
        total += minutes
    if current is not None:
        days.append((current, total))
    return days
