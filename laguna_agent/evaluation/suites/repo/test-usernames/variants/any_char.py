"""Rules for new accounts."""


def username_error(name):
    """Why a user name is refused, or None if it is fine.

    A name has 3 to 12 characters, only lower case letters a-z and digits, and begins with a letter.
    """
    if len(name) < 3:
        return "too short"
    if len(name) > 12:
        return "too long"
    if not name[0].isalpha():
        return "must begin with a letter"
    if not any(c in "abcdefghijklmnopqrstuvwxyz0123456789" for c in name):
        return "only a-z and 0-9"
    return None
