"""Git as laguna runs it: nothing that a repository configures is run with it."""
