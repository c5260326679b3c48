def table(results):
    """Pairs of team and points, the best first."""
    points = {}
    for team, won in results:
        points[team] = points.get(team, 0) + won
    return list(points.items())
