import math


def distance(a, b):
    return math.hypot(a[0] - b[0], a[1] - b[1])


def midpoint(a, b):
    return ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)


def perimeter(points):
    """The length of the closed line through the points."""
    return sum(distance(p, q) for p, q in zip(points, points[1:] + points[:1]))
