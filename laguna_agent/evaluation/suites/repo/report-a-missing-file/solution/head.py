import sys


def main(arguments):
    try:
        return head(arguments[0])
    except FileNotFoundError:
        print(f'{arguments[0]}: no such file', file=sys.stderr)
        return 2


def head(path):
    with open(path) as file:
        print(file.readline().rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
