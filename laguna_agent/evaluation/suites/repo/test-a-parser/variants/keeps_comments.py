def parse(text):
    result = {}
    for line in text.split("\n"):
        line = line.strip()
        if not line:
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise ValueError(line)
        result[key.strip()] = value.strip()
    return result
