import csv


def names(path):
    with open(path, encoding="latin-1", newline="") as file:
        return [row["name"] for row in csv.DictReader(file)]


if __name__ == "__main__":
    print(", ".join(names("people.csv")))
