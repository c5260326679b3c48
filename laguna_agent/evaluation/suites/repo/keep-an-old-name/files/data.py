def load_data(text):
    """Rows of a text, each a list of fields."""
    return [line.split(",") for line in text.splitlines()]
