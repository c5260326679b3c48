from data import load_data


def width(text):
    return max(len(row) for row in load_data(text))
