from model import User


def create(name):
    """Create a User."""
    return User(name.strip())
