import argparse
from paint import paint


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("--color", default=None)
    parser.add_argument("--twice", action="store_true")
    options = parser.parse_args()
    text = options.text
    if options.color:
        text = paint(text, options.color)
    print(text * 2 if options.twice else text)


if __name__ == "__main__":
    main()
