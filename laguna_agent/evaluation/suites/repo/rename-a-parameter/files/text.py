def repeat(word, n=2):
    """A word n times."""
    return word * n
