from client import MAX_RETRIES, request


def plan(paths):
    """Each request, as often as it may be tried."""
    return [(request(path)["url"], MAX_RETRIES) for path in paths]


if __name__ == "__main__":
    print(plan(["users"]))
