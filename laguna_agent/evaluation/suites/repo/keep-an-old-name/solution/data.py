def read_rows(text):
    """Rows of a text, each a list of fields."""
    return [line.split(",") for line in text.splitlines()]


load_data = read_rows
