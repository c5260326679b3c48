"""Greets people."""

import argparse


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--upper", action="store_true")
    options = parser.parse_args()
    text = f"Hello, {options.name}!"
    print(text.upper() if options.upper else text)


if __name__ == "__main__":
    main()
