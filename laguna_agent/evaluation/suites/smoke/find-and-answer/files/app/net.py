import os

from app.settings import DEFAULT_PORT


def parse_port(text):
    return int(text) if text.isdigit() else DEFAULT_PORT


def listen_address(settings):
    port = os.environ.get("PORT", "")
    return settings.get("host", "127.0.0.1"), parse_port(port)
