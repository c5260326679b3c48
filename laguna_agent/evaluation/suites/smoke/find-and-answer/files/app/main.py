from app.net import listen_address
from app.settings import load


def main():
    """Start the server on the PORT of the settings."""
    host, port = listen_address(load())
    print(f"listening on {host}:{port}")
