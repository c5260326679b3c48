import sys
from store import load, save


def main(arguments):
    command, *rest = arguments
    entries = load()
    if command == "add":
        save([*entries, " ".join(rest)])
    elif command == "list":
        for number, entry in enumerate(entries, 1):
            print(number, entry)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
