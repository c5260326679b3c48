#!/usr/bin/env python3
import sys

USAGE = "usage: bars.py [--char C] [--output FILE] NAME=NUMBER..."


def main(argv):
    char = "#"
    output = None
    pairs = []
    while argv:
        word = argv.pop(0)
        if word == "--char":
            char = argv.pop(0)
        elif word == "--output":
            output = argv.pop(0)
        elif "=" in word:
            name, number = word.split("=")
            pairs.append((name, int(number)))
        else:
            print(USAGE, file=sys.stderr)
            return 2
    chart = "".join(f"{name:8}{char * number}\n" for name, number in pairs)
    if output:
        with open(output, "w") as file:
            file.write(chart)
    else:
        print(chart, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
