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
    elif command == "done":
        number = int(rest[0])
        if not 1 <= number <= len(entries):
            print("no entry", number)
            return 1
        del entries[number - 1]
        save(entries)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
