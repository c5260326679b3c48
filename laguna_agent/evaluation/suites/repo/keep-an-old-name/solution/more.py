import data


def count(text):
    return len(data.read_rows(text))
