import math


def distance(a, b):
    """The straight distance of two points."""
    return math.hypot(a[0] - b[0], a[1] - b[1])


def midpoint(a, b):
    """The point in the middle of a and b."""
    return ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)


def perimeter(points):
    """The length of the closed line through the points."""
    return sum(distance(p, q) for p, q in zip(points, points[1:] + points[:1]))
