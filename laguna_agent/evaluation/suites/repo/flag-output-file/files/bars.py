#!/usr/bin/env python3
import sys

USAGE = "usage: bars.py [--char C] NAME=NUMBER..."


def main(argv):
    char = "#"
    pairs = []
    while argv:
        word = argv.pop(0)
        if word == "--char":
            char = argv.pop(0)
        elif "=" in word:
            name, number = word.split("=")
            pairs.append((name, int(number)))
        else:
            print(USAGE, file=sys.stderr)
            return 2
    for name, number in pairs:
        print(f"{name:8}{char * number}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
