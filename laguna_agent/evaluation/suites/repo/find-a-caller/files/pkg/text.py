def normalise(text):
    """normalise(text) folds spaces."""
    return " ".join(text.split())
