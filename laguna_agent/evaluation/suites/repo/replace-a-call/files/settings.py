_VALUES = {"host": "localhost", "port": 80}


def get(name):
    return _VALUES[name]
