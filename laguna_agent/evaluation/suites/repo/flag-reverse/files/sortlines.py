"""Prints the lines of a file in order."""

import argparse


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--unique", action="store_true", help="print equal lines once")
    args = parser.parse_args()
    with open(args.file) as file:
        lines = file.read().splitlines()
    if args.unique:
        lines = set(lines)
    for line in sorted(lines):
        print(line)


if __name__ == "__main__":
    main()
