import sys
from units import METRES


def convert(value, source, target):
    return value * METRES[source] / METRES[target]


if __name__ == "__main__":
    value, source, target = sys.argv[1:]
    print(round(convert(float(value), source, target), 4))
