"""Prints the mean of the amounts in a CSV file."""

import csv
import sys


def amounts(path):
    with open(path, newline="") as file:
        return [float(row["amount"]) for row in csv.DictReader(file)]


def main():
    values = amounts(sys.argv[1])
    if not values:
        print("no rows")
        return
    mean = sum(values) / len(values)
    print(f"mean {mean} of {len(values)} rows")


if __name__ == "__main__":
    main()
