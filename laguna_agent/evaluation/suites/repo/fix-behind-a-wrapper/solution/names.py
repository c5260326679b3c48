def full_name(person):
    """First and last name, the middle name between them if there is one."""
    parts = [person["first"], person.get("middle"), person["last"]]
    return " ".join(part for part in parts if part)
