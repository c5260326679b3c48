"""A small client that only builds requests."""

from constants import BASE_URL, TIMEOUT


def request(path):
    return {"url": f"{BASE_URL}/{path}", "timeout": TIMEOUT}
