def parse(text):
    """Lines such as `key = value` as a dictionary. Skips empty lines and lines that begin with #.
    Raises ValueError for any other line without an equal sign."""
    result = {}
    for line in text.split("\n"):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise ValueError(line)
        result[key.strip()] = value.strip()
    return result
