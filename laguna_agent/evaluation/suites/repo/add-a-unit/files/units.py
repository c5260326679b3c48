"""Units of length, each in metres."""

METRES = {
    "m": 1.0,
    "ft": 0.3048,
}
