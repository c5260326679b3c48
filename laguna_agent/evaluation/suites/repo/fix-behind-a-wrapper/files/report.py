from names import full_name


def header(person):
    return f"Report for {full_name(person)}"
