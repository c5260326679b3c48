def parse(text):
    pairs = (line.partition("=") for line in text.split("\n") if "=" in line)
    return {k.strip(): v.strip() for k, _, v in pairs if not k.strip().startswith("#")}
