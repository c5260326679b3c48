"""The check: the command whose success means that the task is done."""
