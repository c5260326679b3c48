"""Working days."""

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def next_working_day(day):
    """The working day that follows a day: Monday after Friday, Saturday and Sunday."""
    position = DAYS.index(day)
    if position > 3:
        return "mon"
    return DAYS[position + 1]
