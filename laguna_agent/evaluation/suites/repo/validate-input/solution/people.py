def create(name, age):
    """A person as a dictionary."""
    name = name.strip()
    if not name or not 0 <= age <= 150:
        raise ValueError(name, age)
    return {"name": name, "age": age}
