import os

DEFAULT_PORT = 8080


def load():
    return {"host": os.environ.get("HOST", "127.0.0.1")}
