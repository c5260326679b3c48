"""Counts words on standard input."""

import argparse
import sys
from collections import Counter


def main():
    parser = argparse.ArgumentParser(description="count words")
    parser.add_argument('--limit', type=int)
    options = parser.parse_args()
    counts = Counter(sys.stdin.read().split())
    for word, count in counts.most_common(options.limit):
        print(count, word)


if __name__ == "__main__":
    main()
