def is_done(task):
    return not task["done"]


def open_titles(tasks):
    """Titles of the tasks that are still to do."""
    return [task["title"] for task in tasks if is_done(task)]


def summary(tasks):
    """Such as `2 of 5 done`."""
    done = sum(1 for task in tasks if is_done(task))
    return f"{done} of {len(tasks)} done"
