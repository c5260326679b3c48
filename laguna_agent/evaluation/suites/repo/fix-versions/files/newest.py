import sys


def newest(versions):
    return max(versions)


if __name__ == "__main__":
    print(newest(sys.argv[1:]))
