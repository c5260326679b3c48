import sys


def main(arguments):
    with open(arguments[0]) as file:
        print(file.readline().rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
