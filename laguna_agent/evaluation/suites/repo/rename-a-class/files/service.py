from model import Usr


def create(name):
    """Create a Usr."""
    return Usr(name.strip())
