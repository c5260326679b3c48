"""Prints the lines of a file in order."""

import argparse


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--unique", action="store_true", help="print equal lines once")
    parser.add_argument("--reverse", action="store_true", help="print from z to a")
    args = parser.parse_args()
    with open(args.file) as file:
        lines = file.read().splitlines()
    if args.unique:
        lines = set(lines)
    for line in sorted(lines, reverse=args.reverse):
        print(line)


if __name__ == "__main__":
    main()
