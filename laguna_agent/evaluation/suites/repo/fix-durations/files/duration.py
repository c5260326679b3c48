import re
import sys


def seconds(text):
    match = re.fullmatch(r"(\d+)h(\d+)m", text)
    hours, minutes = match.groups()
    return int(hours) * 3600 + int(minutes) * 60


if __name__ == "__main__":
    print(seconds(sys.argv[1]))
