"""The command whose success means that the task is done: finding it and running it."""
