import settings
from legacy import address


def describe():
    return f"port {settings.get('port')} of {address()}"
