from data import read_rows


def width(text):
    return max(len(row) for row in read_rows(text))
