def parse(text):
    result = {}
    for line in text.split("\n"):
        if not line.strip() or line.strip().startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise ValueError(line)
        result[key] = value
    return result
