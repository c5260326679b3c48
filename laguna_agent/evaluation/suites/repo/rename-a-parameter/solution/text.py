def repeat(word, times=2):
    """A word n times."""
    return word * times
