def create(name, age):
    """A person as a dictionary."""
    return {"name": name, "age": age}
