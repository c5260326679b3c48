from pkg import text as t


def read(path):
    with open(path) as file:
        return t.normalise(file.read())
