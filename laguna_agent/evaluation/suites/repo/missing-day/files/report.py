import sys

from timesheet import last_day, read


def report(text):
    days = last_day(read(text))
    lines = [f"{day} {total // 60}:{total % 60:02}" for day, total in days]
    return "\n".join(lines or ["nothing"])


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        print(report(file.read()))
