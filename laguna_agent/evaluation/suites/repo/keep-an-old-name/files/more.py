import data


def count(text):
    return len(data.load_data(text))
