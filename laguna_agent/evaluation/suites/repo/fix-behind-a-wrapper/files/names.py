def full_name(person):
    """First and last name, the middle name between them if there is one."""
    parts = [person["first"], person["middle"], person["last"]]
    return " ".join(parts)
