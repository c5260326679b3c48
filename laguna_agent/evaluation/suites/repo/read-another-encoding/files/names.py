import csv


def names(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [row["name"] for row in csv.DictReader(file)]


if __name__ == "__main__":
    print(", ".join(names("people.csv")))
