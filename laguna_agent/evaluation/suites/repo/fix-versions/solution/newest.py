import sys


def newest(versions):
    return max(versions, key=lambda version: [int(part) for part in version.split('.')])


if __name__ == "__main__":
    print(newest(sys.argv[1:]))
