def average(marks):
    return sum(marks) / len(marks)


def best(marks):
    return max(marks)


def grade(marks):
    """A letter for the average of marks."""
    mean = average(marks)
    if mean >= 90:
        return "A"
    if mean >= 70:
        return "B"
    return "C"
