"""A small client that only builds requests."""

BASE_URL = "https://api.example.org/v2"
TIMEOUT = 30
MAX_RETRIES = 4


def request(path):
    return {"url": f"{BASE_URL}/{path}", "timeout": TIMEOUT}
